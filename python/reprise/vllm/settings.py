"""What `kv_connector_extra_config` may say, read and checked once. It reaches the workers with vLLM's configuration."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from .._errors import ConfigError

# Options of docs/configuration.md begin with one of these.
_AREAS = ("l1", "l2", "lease", "policy", "attach", "listen", "allow", "auth", "admin", "tls", "server")


@dataclass(frozen=True)
class Settings:
    """The connector's settings. Times are in seconds."""

    cache_url: str = ""
    """`unix:///...` of a daemon that is there already; empty for a private one."""
    strict: bool = False
    """Refuse to start without the cache, where otherwise the engine would run without it."""
    lookup_timeout: float = 0.5
    """Longest wait of the scheduler for one answer of the cache."""
    fetch_timeout: float = 5.0
    """Longest time a request is put off while its blocks come from L2; not longer than computing them takes."""
    fetch_if_slower: bool = False
    """Wait for them up to `fetch_timeout` even where computing would take less: to save the processor, or to test."""
    async_load_above: str = "64MiB"
    """Bytes of a rank above which a request is parked while its blocks are read: a size, 0 for all, or `never`."""
    fetch_timeout_per_token: float = 0.0
    """The same for each token that is fetched; 0: no limit of its own."""
    load_timeout: float = 2.0
    """Longest wait of a worker for the daemon before a load counts as failed."""
    store_timeout: float = 1.0
    """Longest wait of a worker for room for the blocks of one request."""
    pinned_memory: str = "1GiB"
    """KV on a GPU: page-locked memory of a worker that blocks are saved through, at most; those that find it full are
    not saved."""
    start_timeout: float = 20.0
    """Longest wait for the private server to come up."""
    flush_finished: bool = False
    """Report a request as finished only when what it stored is in L2."""
    flush_timeout: float = 2.0
    """Longest wait for that."""
    trust_hashes: bool = False
    """Take block hashes that are not cryptographic."""
    store_decode: bool = False
    """Store blocks of generated tokens, too, not only those of prompts."""
    event_checks: int = 500
    """Announced blocks a second that are looked for again, where vLLM publishes KV events; 0: never."""
    profiling_server: str = ""
    """Address of a Pyroscope server that profiles of scheduler and workers go to."""
    model: str = ""
    """Name of the model in the namespace; empty for vLLM's."""
    salt: str = ""
    """Engines of different salts share nothing."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Options of docs/configuration.md for the private server and the attached cache, by their TOML keys."""

    @staticmethod
    def read(extra: Mapping[str, Any]) -> Settings:
        """Reads vLLM's extra configuration; ConfigError for a name that is unknown or a value of another type."""
        known = {f.name: f for f in fields(Settings) if f.name != "options"}
        values: dict[str, Any] = {}
        options = {"l1.capacity": "4GiB"}
        for name, value in extra.items():
            if name in known:
                values[name] = _typed(name, value, type(known[name].default))
            elif "." in _toml_key(name):
                options[_toml_key(name)] = _text(value)
            else:
                near = difflib.get_close_matches(name, [*known, "l1_capacity", "l2_url"], 1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise ConfigError(f"kv_connector_extra_config has '{name}', which is no setting of Reprise{hint}")
        settings = Settings(**values, options=options)
        settings._check(Settings.keys(extra))
        return settings

    @staticmethod
    def keys(extra: Mapping[str, Any]) -> set[str]:
        """The names in `extra` as `read` understands them: options by their TOML keys."""
        return set(map(_toml_key, extra))

    def _check(self, given: set[str]) -> None:
        for name in ("lookup_timeout", "fetch_timeout", "fetch_timeout_per_token", "load_timeout", "store_timeout",
                     "start_timeout", "flush_timeout"):
            if not 0 <= getattr(self, name) <= 3600:
                raise ConfigError(f"'{name}' is {getattr(self, name)}; it must be between 0 and 3600 seconds")
        if not 0 <= self.event_checks <= 1_000_000:
            raise ConfigError(f"'event_checks' is {self.event_checks}; it must be between 0 and 1000000 a second")
        self.async_bytes()
        self.pinned_bytes()
        if self.cache_url and not self.cache_url.startswith("unix:"):
            raise ConfigError(f"cache_url is '{self.cache_url}'; workers attach through shared memory: write "
                              "unix:///path of a daemon on this host. One on another host is l2_url: tcp://host:port")
        ours = sorted(k for k in given if "." in k and not k.startswith("attach."))
        if self.cache_url and ours:
            raise ConfigError(f"'{ours[0]}' is the daemon's affair: set it there, or leave out cache_url")

    def async_bytes(self) -> int | None:
        """What `async_load_above` says; None: never."""
        if self.async_load_above.strip() == "never":
            return None
        return _size("async_load_above", self.async_load_above, "64MiB, 0, or never")

    def pinned_bytes(self) -> int:
        """What `pinned_memory` says."""
        return _size("pinned_memory", self.pinned_memory, "1GiB")

    def summary(self) -> str:
        """The private server's options, for the log."""
        shown = dict(self.options)
        if shown["l1.capacity"].isdecimal():
            shown["l1.capacity"] = f"{int(shown['l1.capacity']) / 2**30:.4g}GiB"
        given = ", ".join(f"{key} {value}" for key, value in shown.items() if not key.startswith("attach."))
        return given if shown.get("l2.url") else f"{given}, no l2.url behind it"

    def server_flags(self) -> list[str]:
        """Flags of `reprise serve` for the private server."""
        flags = []
        for key, value in self.options.items():
            if not key.startswith("attach.") or self._remote:
                flags += ["--" + key.replace(".", "-"), value]
        return flags

    @property
    def _remote(self) -> bool:
        """The private server attaches to another one behind it; the way to itself needs no options."""
        return self.options.get("l2.url", "").startswith("tcp:")

    def attach_options(self) -> dict[str, str]:
        """Options of `Cache.open` for the attached cache."""
        if self._remote:
            return {}
        return {k.replace(".", "_").replace("-", "_"): v for k, v in self.options.items() if k.startswith("attach.")}


def _toml_key(name: str) -> str:
    area, _, rest = name.replace(".", "_").replace("-", "_").partition("_")
    return f"{area}.{rest.replace('_', '-')}" if area in _AREAS and rest else name


def _size(name: str, value: str, such: str) -> int:
    found = re.fullmatch(r"(\d+)\s*(KiB|MiB|GiB|)", value.strip())
    if not found:
        raise ConfigError(f"'{name}' is '{value}'; it must be a size such as {such}")
    return int(found[1]) << {"": 0, "KiB": 10, "MiB": 20, "GiB": 30}[found[2]]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _typed(name: str, value: Any, kind: type) -> Any:
    if kind is bool and not isinstance(value, bool):
        text = str(value).lower()
        if text not in ("0", "1", "true", "false"):
            raise ConfigError(f"'{name}' is '{value}'; it must be true or false")
        return text in ("1", "true")
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise ConfigError(f"'{name}' is '{value}'; it must be of type {kind.__name__}") from None
