"""Dialogues: from what a file holds to turns, and from turns to one text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lrsl.data.corpus import Turn
from lrsl.errors import InputError

SPEAKERS = {
    "agent": "agent",
    "system": "agent",
    "s": "agent",
    "customer": "customer",
    "user": "customer",
    "u": "customer",
    "客服": "agent",
    "坐席": "agent",
    "客户": "customer",
    "用户": "customer",
}
"""The speaker marks that are recognised, in any case, and whom they mean."""

MARKS = {"en": {"agent": "Agent: ", "customer": "Customer: "}, "zh": {"agent": "客服：", "customer": "客户："}}
"""What a turn starts with in a text, by language; English for all others."""

_MARKED = re.compile(rf"\s*({'|'.join(SPEAKERS)})\s*[:：]\s*(.*)", re.IGNORECASE | re.DOTALL)


def parse_turns(value: Any, separator: str, place: str, marks: Mapping[str, str] | None = None) -> list[Turn]:
    """Return the turns of one dialogue, without the empty ones.

    Args:
        value: one string, cut at the separator; or a list whose items are strings, `{"speaker": …, "text": …}` or
            `[speaker, text]`. A string that starts with a speaker's mark, such as `Agent:` or `U:` (see `SPEAKERS`),
            is that speaker's; any other keeps its text as it is and has no speaker. An unknown speaker's name stays
            in front of the text.
        separator: what stands between two turns of a string.
        place: file and line, for the error.
        marks: further values of `speaker` and whom they mean, `"agent"` or `"customer"`.

    Raises:
        InputError: the value has another form.
    """
    if isinstance(value, str):
        value = [part.strip() for part in value.split(separator)]
    if not isinstance(value, list):
        raise InputError(
            f"{place} has turns of type {type(value).__name__}; give a list, or one string with turns set apart by "
            f"dataset.turn_separator ('{separator}')"
        )
    speakers = {**SPEAKERS, **(marks or {})}
    turns = [_parse_turn(item, speakers, f"{place} has a turn {i}") for i, item in enumerate(value, start=1)]
    return [turn for turn in turns if turn.text.strip()]


def dialogue_text(turns: list[Turn], language: str = "en") -> str:
    """Return the turns as one text: a line per turn, which starts with `Agent: ` or `Customer: ` where it is known.

    Chinese texts have `客服：` and `客户：` instead.
    """
    marks = MARKS.get(language, MARKS["en"])
    return "\n".join(marks.get(turn.speaker, "") + turn.text for turn in turns)


def _parse_turn(item: Any, speakers: Mapping[str, str], what: str) -> Turn:
    match item:
        case str(text):
            marked = _MARKED.fullmatch(text)
            return Turn(SPEAKERS[marked[1].lower()], marked[2]) if marked else Turn("", text)
        case {"speaker": str(speaker), "text": str(text)} | [str(speaker), str(text)]:
            known = speakers.get(speaker.strip().lower(), "")
            return Turn(known, text) if known or not speaker.strip() else Turn("", f"{speaker}: {text}")
        case _:
            raise InputError(
                f'{what} that cannot be read; give a string, {{"speaker": "…", "text": "…"}} or ["speaker", "text"]'
            )
