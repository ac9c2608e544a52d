"""How the text of an environment variable becomes a value. Each parser raises ValueError on text that is none."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple


class Parser(NamedTuple):
    """Makes a value of text, and says in words which text that may be."""

    parse: Callable[[str], Any]
    allowed: str


def _boolean(text: str) -> bool:
    word = text.strip().lower()
    if word not in ("1", "true", "0", "false", ""):
        raise ValueError(word)
    return word in ("1", "true")


def _between(convert: Callable[[str], Any], lowest: float | None, highest: float | None) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        number = convert(text)
        # Not the other way round: nothing compares with a NaN.
        if not ((lowest is None or number >= lowest) and (highest is None or number <= highest)):
            raise ValueError(text)
        return number

    return parse


def _range(kind: str, lowest: float | None, highest: float | None) -> str:
    if lowest is None:
        return kind
    return f"{kind}, {lowest} or more" if highest is None else f"{kind} from {lowest} to {highest}"


def integer(lowest: int | None = None, highest: int | None = None) -> Parser:
    return Parser(_between(int, lowest, highest), _range("an integer", lowest, highest))


def number(lowest: float | None = None, highest: float | None = None) -> Parser:
    return Parser(_between(float, lowest, highest), _range("a number", lowest, highest))


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise ValueError(text)
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


def _threshold(text: str) -> tuple[int] | tuple[int, float]:
    blocks, *share = (part.strip() for part in text.split(","))
    if len(share) > 1 or int(blocks) < 0:
        raise ValueError(text)
    return (int(blocks), float(share[0])) if share else (int(blocks),)


def choice(*words: str, case: Callable[[str], str] = str.upper) -> Parser:
    """One of ``words``, however it is spelled; "" among them means that it may be empty."""

    def parse(text: str) -> str:
        spelled = {case(word): word for word in words}
        return spelled[case(text.strip())] if case(text.strip()) in spelled else _refuse(text)

    return Parser(parse, "one of " + ", ".join(word or "(empty)" for word in words))


def _refuse(text: str) -> str:
    raise ValueError(text)


BOOLEAN = Parser(_boolean, "1, true, 0 or false")
SHARE = Parser(_share, "a number between 0 and 1, without these")
SECONDS = Parser(_positive, "seconds, more than 0")
THRESHOLD = Parser(_threshold, "`blocks` or `blocks,share`, e.g. `4,0.1`")
TEXT = Parser(str.strip, "text")
LOWER = Parser(lambda text: text.strip().lower(), "text; case does not matter")
UPPER = Parser(lambda text: text.strip().upper(), "text; case does not matter")
PATH = Parser(lambda text: os.path.expanduser(text.strip()), "a path; `~` is the home directory")
NAMES = Parser(
    lambda text: [name.strip() for name in text.split(",") if name.strip()], "names with commas between them"
)
PORT = integer(1, 65535)
