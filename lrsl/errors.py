"""The one exception a user is meant to read."""


class InputError(ValueError):
    """Something the user gave is wrong: one sentence that says what, where, and what would be right.

    `run.py` prints the sentence without a traceback and exits with a non-zero status.
    """


def nearest(word: str, known: list[str]) -> str:
    """Return `"; did you mean 'x'?"` for the known word nearest to `word`, or `""` when none is near."""
    import difflib  # noqa: PLC0415  (only needed on the way out)

    match = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean '{match[0]}'?" if match else ""
