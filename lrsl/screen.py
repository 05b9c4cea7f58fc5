"""What is shown to people: any text as it is, whatever characters it holds."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from lrsl.text import visible


class Screen(Console):
    """A console whose reader may go, which commands say in a sentence where rich ends the process with status 1."""

    def on_broken_pipe(self) -> None:
        """Leave it to whoever runs the command."""
        raise BrokenPipeError


def literal(text: object, style: str = "") -> Text:
    """Return a text for rich that is shown as it is: neither `[bold]` nor `:smile:` nor a number in it means anything.

    Controls that a terminal would obey are spelled out. Whatever holds a name, a label, a path or a sentence that a
    user or a file has given goes through here.

    Args:
        text: what to show.
        style: rich's style for all of it.
    """
    return Text(visible(str(text)), style)
