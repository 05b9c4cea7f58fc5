"""The one exception a user is meant to read."""

from lrsl.masking import without_credentials
from lrsl.text import shortened, visible


class InputError(ValueError):
    """Something the user gave is wrong: one sentence that says what, where, and what would be right.

    `run.py` prints the sentence without a traceback and exits with a non-zero status. Whatever names, paths and texts
    it holds, it shows no credentials, gives no terminal a command and does not go on for ever.
    """

    def __init__(self, sentence: object = "") -> None:
        super().__init__(said(sentence))


def said(sentence: object) -> str:
    """Return a sentence fit to be shown: without credentials, controls spelled out, what is very long cut short."""
    return visible(shortened(without_credentials(str(sentence)))).replace("\n", "\\n")


def nearest(word: str, known: list[str]) -> str:
    """Return `"; did you mean 'x'?"` for the known word nearest to `word`, or `""` when none is near."""
    if len(word) > _LONGEST:
        return ""
    import difflib  # noqa: PLC0415  (only needed on the way out)

    match = difflib.get_close_matches(word, [one for one in known[:_MOST] if len(one) <= _LONGEST], n=1)
    return f"; did you mean '{match[0]}'?" if match else ""


def some(names: list[str]) -> str:
    """Return names one after the other as a message lists them: the first, and how many more there are."""
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…" for name in names[:_SHOWN]) + more


_LONGEST, _MOST, _SHOWN = 60, 1000, 10
"""Characters of a word and number of words that are compared with what was typed, and number that is listed."""
