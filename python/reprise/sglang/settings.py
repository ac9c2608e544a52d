"""What the backend is told: SGLang's extra config first, then REPRISE_* variables, then defaults."""

import difflib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

LOG = logging.getLogger("reprise.sglang")

# Keys of SGLang's own in the same dictionary.
ENGINE_KEYS = frozenset({
    "backend_name", "module_path", "class_name", "interface_v1", "tp_lcm_size", "prefetch_threshold",
    "prefetch_timeout_base", "prefetch_timeout_per_ki_token", "hicache_storage_pass_prefix_keys",
})

# Options of docs/configuration.md that a cache in an engine takes.
CACHE_OPTIONS = frozenset({
    "l1_capacity", "l1_policy", "l1_memory", "l1_huge_pages", "l1_populate", "lease_ttl", "l2_url", "l2_ingest",
    "l2_queue_bytes", "l2_threads", "l2_timeout", "l2_max_abandoned", "l2_eject_for", "policy_salt",
    "policy_horizon_blocks", "attach_token_file", "attach_tls_ca", "attach_tls_cert", "attach_tls_key",
    "attach_connections", "attach_timeout",
})

OWN_KEYS = frozenset({
    "cache_url", "model", "revision", "salt", "extras", "strict", "lookup_timeout", "load_timeout", "store_timeout",
    "retry_after", "threads",
})

# From the environment too: a daemon's address is REPRISE_CACHE there, as for the command line.
OWN_VARIABLES = {"cache_url": "REPRISE_CACHE"}


class SettingsError(ValueError):
    """Settings that cannot work; the text says which and what would."""


@dataclass(frozen=True)
class Settings:
    """Durations are in seconds. `threads` copy the pages of one call at most, the calling one included."""

    cache_url: str = "embedded:"
    options: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    revision: str = "none"
    salt: str = ""
    extras: Mapping[str, str] = field(default_factory=dict)
    strict: bool = False
    lookup_timeout: float = 1.0
    load_timeout: float = 2.0
    store_timeout: float = 2.0
    retry_after: float = 30.0
    threads: int = 2

    def of_rank(self, name: str) -> "Settings":
        """With `{rank}` replaced in addresses: ranks cannot share a folder."""
        options = {key: value.replace("{rank}", name) if isinstance(value, str) else value
                   for key, value in self.options.items()}
        return replace(self, cache_url=self.cache_url.replace("{rank}", name), options=options)


def read_settings(extra: Mapping[str, Any] | None, environment: Mapping[str, str] | None = None) -> Settings:
    """Settings of SGLang's extra config; raises SettingsError for a value of a wrong kind, and with `strict` for an
    unknown key. Unknown keys are otherwise reported and left alone: SGLang has its own in there."""
    environment = os.environ if environment is None else environment
    given = {key.replace(".", "_").replace("-", "_"): value for key, value in (extra or {}).items()}
    _report_unknown(given)
    options = {name: environment[name_in_environment] for name in sorted(CACHE_OPTIONS)
               if (name_in_environment := f"REPRISE_{name.upper()}") in environment}
    options |= {name: value for name, value in given.items() if name in CACHE_OPTIONS}
    own: dict[str, Any] = {}
    for name in sorted(OWN_KEYS):
        variable = OWN_VARIABLES.get(name, f"REPRISE_{name.upper()}")
        value = given.get(name, environment.get(variable))
        if value is not None:
            own[name] = _converted(name, value)
    return Settings(options=options, **own)


def _report_unknown(given: Mapping[str, Any]) -> None:
    known = ENGINE_KEYS | CACHE_OPTIONS | OWN_KEYS
    for key in given:
        if key in known:
            continue
        near = difflib.get_close_matches(key, known, n=1)
        text = f"unknown setting '{key}' of the Reprise backend" + (f"; did you mean '{near[0]}'?" if near else "")
        if _truth(given.get("strict", False)):
            raise SettingsError(text)
        LOG.warning("%s; it is ignored", text)


def _truth(value: Any) -> bool:
    return value.strip().lower() in ("1", "true", "yes", "on") if isinstance(value, str) else bool(value)


def _converted(name: str, value: Any) -> Any:
    if name == "strict":
        return _truth(value)
    if name == "extras":
        if not isinstance(value, Mapping):
            raise SettingsError(f"extras must be a mapping of names to texts, not {value!r}")
        return {str(key): str(text) for key, text in value.items()}
    if name == "threads":
        if not str(value).isdigit() or not 1 <= int(value) <= 16:
            raise SettingsError(f"threads must be 1 to 16, not {value!r}")
        return int(value)
    if name in ("lookup_timeout", "load_timeout", "store_timeout", "retry_after"):
        try:
            seconds = float(value)
        except (TypeError, ValueError):
            raise SettingsError(f"{name} must be a number of seconds, not {value!r}") from None
        if not 0 < seconds <= 3600:
            raise SettingsError(f"{name} must be more than 0 and at most 3600 seconds, not {value!r}")
        return seconds
    return str(value)
