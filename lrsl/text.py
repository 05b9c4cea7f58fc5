"""Texts that others have written, made fit to be shown on a terminal, in a sentence and in a spreadsheet."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

LONGEST_WORD = 200
"""Characters of a sentence without a space between them that are shown whole."""
LONGEST_SENTENCE = 1500
"""Characters of a sentence that is shown whole."""

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, of which terminals take some for commands
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # which turn the order of what stands beside them
    "\u200b\u2060-\u2064\ufeff"  # which are not seen at all
    "\ud800-\udfff]"  # halves of characters, which no terminal can be sent
)
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?( ± \d+(\.\d+)?)?")
_FORMULA = re.compile(
    "'*(?:[\t\r\n]|[\\s\x00-\x1f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]*[=+\\-@\uff1d\uff0b\uff0d\uff20])"
)
"""How a cell begins that a spreadsheet may compute, any marks in front of it included."""


def visible(text: str) -> str:
    r"""Return a text whose controls are spelled out, as `\x1b` is, so that no terminal obeys them; lines stay lines."""
    return _UNSEEN.sub(_spelled, text)


def folded(text: str) -> str:
    """Return what is the same of two texts that differ in capitals and white space alone."""
    return " ".join(text.casefold().split())


def repeated(texts: Iterable[str], among: Iterable[str]) -> int:
    """Return how many texts stand among others, too, capitals and white space aside."""
    known = set(map(folded, among))
    return sum(folded(text) in known for text in texts)


def shortened(text: str, longest: int = LONGEST_SENTENCE) -> str:
    """Return a text without the middle of words that have no end, and of itself where it is still too long."""
    words = re.sub(rf"\S{{{LONGEST_WORD + 1},}}", lambda word: _without_middle(word[0], LONGEST_WORD // 2), text)
    return _without_middle(words, longest)


def cell(value: Any) -> Any:
    """Return a value as a cell of a CSV file or of a table: text that a spreadsheet would compute has a `'` before it.

    Numbers stay numbers. `from_cell` takes the mark off again.
    """
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def from_cell(text: str) -> str:
    """Return the text that `cell` has made a cell of."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def _spelled(character: re.Match[str]) -> str:
    code = ord(character[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _without_middle(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    kept = (longest - 1) // 2
    return f"{text[:kept]}…{text[-kept:]}"
