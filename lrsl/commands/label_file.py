"""The file of label texts that a language model writes, label by label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lrsl.data.label_texts import given_in_order
from lrsl.errors import InputError


class LabelTextFile:
    """A YAML file that is whole after every label, and that the command which began it goes on with.

    Args:
        path: the file.
        header: comment lines that say what the file is of and how it was made.
        labels: the names of the labels, in the order of their texts.
        overwrite: begin anew whatever is there.

    Attributes:
        known: texts that an interrupted command has left, by label.

    Raises:
        InputError: the file is there, and is whole or not one that this command began.
    """

    def __init__(self, path: Path, header: str, labels: Sequence[str], *, overwrite: bool) -> None:
        self.path = path
        self.known: dict[str, str] = {}
        self._content = f"{header}\n"
        if overwrite or not path.exists():
            return
        left = path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""
        texts = given_in_order(left) if left.startswith(self._content) else None
        if texts is None or [*texts] != [*labels][: len(texts)] or len(texts) == len(labels):
            raise InputError(
                f"out={path} is there already, and is not one that this command began and was interrupted in; give "
                "another file, or write it anew with overwrite=true"
            )
        self.known, self._content = texts, left

    def append(self, lines: str) -> None:
        """Add a label's lines; an interruption leaves the file as it was or with all of them.

        Raises:
            InputError: the file cannot be written.
        """
        content = f"{self._content}{lines}"
        part = self.path.with_name(f".{self.path.name}.part")
        try:
            part.write_text(content, encoding="utf-8", newline="\n")
            part.replace(self.path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise InputError(f"out={self.path} cannot be written ({error.strerror}); give another file") from None
        self._content = content
