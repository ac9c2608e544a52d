"""The metrics of the documentation and of the dashboard are those that are exported."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import vllm
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from reprise.vllm.drop_in.metrics import DropInMetrics
from reprise.vllm.reports.stats import RepriseMetrics

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "deploy" / "dashboards" / "reprise-vllm.json").read_text())
ENGINE_LABELS = ["model_name", "engine"]


def exported(kind: Any) -> dict[str, tuple[str, str, str]]:
    """By name: type, labels beside vLLM's, meaning."""
    made: dict[str, tuple[str, str, str]] = {}
    registry = CollectorRegistry()

    def into(metric: Any, suffix: str = "") -> Any:
        def make(name: str, text: str, *, labelnames: list[str], **options: Any) -> Any:
            labels = ", ".join(f"`{label}`" for label in labelnames if label not in ENGINE_LABELS)
            made[name + suffix] = (metric.__name__.lower(), labels, text)
            return metric(name, text, labelnames=labelnames, registry=registry, **options)

        return make

    config: Any = SimpleNamespace(kv_transfer_config=None)
    kinds: Any = {Gauge: into(Gauge), Counter: into(Counter, "_total"), Histogram: into(Histogram)}
    kind(config, kinds, ENGINE_LABELS, {0: ["tiny", 0]})
    return made


def test_the_documentation_has_what_is_exported() -> None:
    text = (ROOT / "docs" / "vllm-observability.md").read_text()
    rows = re.findall(r"^\| `(vllm:\w+)` \| (\w+) \| (.*?) ?\| (.*) \|$", text, re.MULTILINE)
    assert {name: tuple(rest) for name, *rest in rows} == exported(DropInMetrics)
    assert exported(RepriseMetrics).keys() < exported(DropInMetrics).keys()


def expressions() -> list[str]:
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    found = [target["expr"] for panel in panels for target in panel["targets"]]
    return [*found, *(v["query"] for v in DASHBOARD["templating"]["list"] if v["type"] == "query")]


def test_the_dashboard_draws_what_is_exported() -> None:
    ours = exported(DropInMetrics)
    vllms = (Path(vllm.__file__).parent / "v1" / "metrics" / "loggers.py").read_text()
    named = {name for text in expressions() for name in re.findall(r"vllm:\w+", text)}
    assert len(named) > 15
    for name in named:
        base = re.sub(r"_bucket$", "", name)
        if base not in ours:
            assert re.search(rf'"{re.sub(r"_(total|bucket)$", "", name)}"', vllms), f"nobody exports {name}"


def test_the_dashboard_filters_by_labels_that_there_are() -> None:
    for text in expressions():
        for name, selected in re.findall(r"(vllm:\w+)\{([^}]*)\}", text):
            for label in re.findall(r"(\w+)=", selected):
                assert label in ("model_name", "source"), f"{name} has no {label}"
    places = [tuple(panel["gridPos"].values()) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in DASHBOARD["panels"]})
