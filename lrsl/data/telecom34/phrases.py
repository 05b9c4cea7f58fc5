"""The written material behind the calls: reading the YAML files, and filling a phrase's slots and choices."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from lrsl.data.telecom34.draw import Draw

Lines = tuple[str, ...]
_CHOICE = re.compile(r"\(([^()]*\|[^()]*)\)")
_SLOT = re.compile(r"<(\w+)>")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same result, ten times faster where it is built in


@dataclass(frozen=True)
class Label:
    """One of the 34 labels, with everything that is said about it.

    Attributes:
        name: its name in `Corpus.labels`.
        group: the coarse label.
        text: the readable text the embedding sees.
        frequency: its number of training calls in CMCC-34.
        about: names of the situations a call with this label may open with.
        near: names of the labels it is confused with.
        topic: the matter in passing, as a noun phrase.
        ask: the customer's deciding turn.
        reply: the agent's answer.
    """

    name: str
    group: str
    text: str
    frequency: int
    about: Lines
    near: Lines
    topic: Lines
    ask: Lines
    reply: Lines


@cache
def read(name: str) -> dict[str, Any]:
    """Return one of the YAML files as nested dicts, each block of lines as a tuple of phrases."""
    content = files(__package__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return {key: _lines(value) for key, value in yaml.load(content, Loader=_Loader).items()}


@cache
def labels() -> tuple[Label, ...]:
    """Return the labels in the order of CMCC-34."""
    said = {group: read(group) for group in ("inquiry", "transaction", "complaint")}
    return tuple(
        Label(
            name=name,
            group=entry["group"],
            text=entry["text"],
            frequency=entry["calls"],
            about=tuple(entry["about"]),
            near=tuple(entry["near"]),
            **said[entry["group"]][name],
        )
        for name, entry in read("labels").items()
    )


def fill(phrase: str, slots: dict[str, str], draw: Draw) -> str:
    """Return the phrase with each (a|b) decided and each <slot> filled.

    Args:
        phrase: a line of the YAML files.
        slots: the values the call has settled on so far; new ones are added. A slot ending in 2, such as `<svc2>`,
            is another value of the slot without it.
        draw: where choices come from.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in slots:
            kind = name.rstrip("2")
            taken = {slots.get(kind), slots.get(f"{kind}2")}
            slots[name] = draw.one_of([line for line in read("slots")[kind] if line not in taken])
        return slots[name]

    decided = _CHOICE.sub(lambda match: draw.one_of(match[1].split("|")), phrase)
    filled = " ".join(_SLOT.sub(value, decided).split())
    return re.sub(r" (?=[.,?!])", "", filled)  # what an empty choice leaves before a full stop


def _lines(value: Any) -> Any:
    if isinstance(value, str) and "\n" in value:
        return tuple(value.splitlines())
    if isinstance(value, dict):
        return {key: _lines(inner) for key, inner in value.items()}
    return value
