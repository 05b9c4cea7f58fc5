"""JSON from others: what cannot be worked with is refused while it is read."""

from __future__ import annotations

import json
from typing import Any, NoReturn

DEEPEST = 100
"""Lists and objects inside each other that are read; what walks through them later has its limits too."""
_LONGEST_NUMBER = 400  # digits: a whole number of more is no float


def parsed(text: str, *, distinct: bool = False, finite: bool = False) -> Any:
    """Return what JSON stands for.

    Args:
        text: the JSON.
        distinct: whether a key that an object has twice is refused.
        finite: whether NaN and Infinity are refused, which are no JSON.

    Raises:
        json.JSONDecodeError: it is no JSON.
        ValueError: it is nested too deep, or holds a number that is too long, a key twice or what is no JSON value.
    """
    options: dict[str, Any] = {"parse_int": _whole}
    if finite:
        options["parse_constant"] = _refuse_constant
    if distinct:
        options["object_pairs_hook"] = distinct_keys
    try:
        value = json.loads(text, **options)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    check_depth(value)
    return value


def check_depth(value: Any) -> None:
    """Check that lists and objects do not lie too deep inside each other.

    Raises:
        ValueError: they do.
    """
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(DEEPEST):
        if not level:
            return
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
    if level:
        raise ValueError(_TOO_DEEP)


def distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object's keys and values as a dict; for `object_pairs_hook`.

    Raises:
        ValueError: a key stands twice, of which Python would keep the last value alone.
    """
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for number, key in enumerate(keys) if key in keys[:number])
        raise ValueError(f"an object has the key '{twice[:60]}' twice")
    return made


_TOO_DEEP = f"lists and objects lie more than {DEEPEST} deep inside each other"


def _whole(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError(f"a number has more than {_LONGEST_NUMBER} digits")
    return int(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")
