"""Reading member lists."""

from __future__ import annotations

import json
from typing import Any

MOST_SLOTS = 1 << 20


def parse_members(text: str) -> list[tuple[dict[str, Any], list[int]]]:
    """(meta, slots) of each node of `{"nodes": [{"addr", "port", "slots": [{"start", "end"}...], ...}], ...}`.

    Ends are inclusive. A range whose start lies behind its end goes over the end of the ring of slots and on from 0;
    the ring has `total_slots` of the list, or, if it says nothing, as many as the next power of two. ValueError, saying
    what is wrong, for anything else, no nodes, or a slot that two of them have.
    """
    try:
        listed = json.loads(text)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the member list is not JSON: {error}") from error
    nodes = listed.get("nodes") if isinstance(listed, dict) else None
    if not isinstance(nodes, list) or not nodes:
        raise ValueError("the member list has no nodes")
    ranges = [_ranges_of(node) for node in nodes]
    ring = _ring(listed, ranges)
    owners: dict[int, int] = {}
    members: list[tuple[dict[str, Any], list[int]]] = []
    for index, (node, spans) in enumerate(zip(nodes, ranges, strict=True)):
        slots = sorted(slot for span in spans for slot in _slots_of(*span, ring))
        for slot in slots:
            if owners.setdefault(slot, index) != index:
                raise ValueError(f"slot {slot} belongs to {nodes[owners[slot]].get('addr')} and {node.get('addr')}")
        members.append(({name: value for name, value in node.items() if name != "slots"}, sorted(set(slots))))
    if not owners:
        raise ValueError("the member list has no slots")
    return members


def _ranges_of(node: Any) -> list[tuple[int, int]]:
    if not isinstance(node, dict):
        raise ValueError(f"a node is not an object: {node!r}")
    for name in ("addr", "port", "slots"):
        if name not in node:
            raise ValueError(f"a node has no {name}: {node!r}")
    if not isinstance(node["slots"], list):
        raise ValueError(f"slots of {node['addr']} are not a list")
    ranges = []
    for span in node["slots"]:
        start, end = (span.get("start"), span.get("end")) if isinstance(span, dict) else (None, None)
        if not (type(start) is int and type(end) is int and 0 <= start < MOST_SLOTS and 0 <= end < MOST_SLOTS):
            raise ValueError(f"slots of {node['addr']}: {span!r} is not a range within 0 and {MOST_SLOTS - 1}")
        ranges.append((start, end))
    return ranges


def _ring(listed: dict[str, Any], ranges: list[list[tuple[int, int]]]) -> int:
    """How many slots there are: who has the last one may be hidden in a range over the end."""
    highest = max((max(span) for spans in ranges for span in spans), default=0)
    said = listed.get("total_slots")
    if said is None:
        return 1 << highest.bit_length()
    if type(said) is not int or not highest < said <= MOST_SLOTS:
        raise ValueError(f"total_slots is {said!r} in a list with the slot {highest}")
    return said


def _slots_of(start: int, end: int, ring: int) -> list[int]:
    if start <= end:
        return list(range(start, end + 1))
    return [*range(start, ring), *range(end + 1)]
