"""What a speech recogniser and a spoken sentence do to words: fillers, restarts, mishearings, cut-offs."""

from __future__ import annotations

from functools import cache

from lrsl.data.telecom34.draw import Draw
from lrsl.data.telecom34.phrases import read


def spoken(text: str, rate: float, draw: Draw) -> str:
    """Return the text as a recogniser writes it down.

    Args:
        text: what is meant.
        rate: chance per word of a filler and of a restart; a word that sounds like others is misheard twice as often.
        draw: where choices come from.
    """
    words: list[str] = []
    for word in text.split():
        if draw.chance(rate):
            words.append(draw.one_of(read("noise")["fillers"]) + ",")
        if draw.chance(rate * 0.6):
            words += [word.rstrip(".,?!"), *words[-1:]] if draw.chance(0.3) else [_started(word)]
        words.append(_heard(word, draw) if draw.chance(rate * 2) else word)
    return " ".join(words)


def cut_off(text: str, draw: Draw) -> str:
    """Return the first part of the text, broken off within a word."""
    words = text.split()
    kept = words[: max(2, len(words) // 4 + draw.below(len(words) // 4 + 1))]
    return " ".join([*kept[:-1], _started(kept[-1])])


def _started(word: str) -> str:
    """Return the word's beginning, as when somebody breaks off: `suspend` gives `susp--`."""
    bare = word.rstrip(".,?!")
    return f"{bare[: len(bare) // 2 + 1]}--"


def _heard(word: str, draw: Draw) -> str:
    """Return what is understood instead of the word, its punctuation kept."""
    bare = word.rstrip(".,?!")
    sounds_like = _misheard().get(bare.lower())
    return draw.one_of(sounds_like) + word[len(bare) :] if sounds_like else word


@cache
def _misheard() -> dict[str, list[str]]:
    pairs = (line.split(" = ") for line in read("noise")["misheard"])
    return {word: heard.split(", ") for word, heard in pairs}
