"""What is typed after `lrsl fit` and `lrsl rerank`, as texts, labels and names; nothing here waits for torch."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from lrsl.data.label_texts import readable
from lrsl.data.rows import records, value
from lrsl.data.table import CHECKED, QUOTING, read_text
from lrsl.errors import InputError, nearest

Labels = list[int] | list[str]

BACKENDS = ("torch", "onnx", "onnx-int8")
"""Those of `lrsl.nn.onnx`, which waits for torch."""
LISTS = (".txt", ".json", ".yaml", ".yml")


class Help(argparse.RawDescriptionHelpFormatter):
    """Help on one screen: what a flag takes, and what it does, on one line."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=110)


def status(work: Callable[[], None]) -> int:
    """Do the work of a command and return its exit status: 1, and a sentence, where what was given is wrong."""
    try:
        work()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def add_files(parser: argparse.ArgumentParser) -> None:
    """Have a parser take files of logits and texts."""
    kinds = ".npy, .npz, .safetensors, .jsonl or .parquet"
    parser.add_argument("--logits", type=Path, required=True, metavar="FILE", help=f"logits (n, classes): {kinds}")
    parser.add_argument("--texts", type=Path, required=True, metavar="TABLE", help="CSV, TSV, JSON lines or Parquet")
    parser.add_argument("--logits-key", metavar="NAME", help="array, tensor or column of the logits (logits)")
    parser.add_argument("--text-key", metavar="COLUMN", help="column of the texts (text)")
    parser.add_argument("--quoting", choices=QUOTING, default=CHECKED, help="quotation marks in CSV (checked)")


def add_backend(parser: argparse.ArgumentParser) -> None:
    """Have a parser take what computes the embedding, which is checked where it is loaded."""
    parser.add_argument("--backend", choices=BACKENDS, default=BACKENDS[0], help="what embeds texts (torch)")


def rows_of(table: Path, text_key: str | None, label_key: str | None, quoting: str) -> tuple[list[str], list[Any]]:
    """Return the texts of a table, and its labels as they stand there; no labels without a column for them.

    Raises:
        InputError: it cannot be read, or lacks a text or a column.
    """
    texts, labels = [], []
    for record in records(table, quoting):
        text = value(record, text_key, "text")
        if not isinstance(text, str):
            raise InputError(f"{record.place} has {text!r} for a text; it must be a string")
        texts.append(text)
        if label_key is not None:
            label = value(record, label_key, "label", "--labels")
            if label is None or label == "":
                raise InputError(f"{record.place} has no label; leave out rows without one")
            labels.append(label)
    return texts, labels


def labels_in(path: Path, quoting: str) -> list[Any]:
    """Return the labels in a file of their own: .npy, .npz with `labels`, or a table with a column `label`.

    Raises:
        InputError: it cannot be read, or has none.
    """
    if path.suffix not in (".npy", ".npz"):
        return [value(record, None, "label", "--labels") for record in records(path, quoting)]
    import numpy as np  # noqa: PLC0415

    from lrsl.data.logits import BROKEN  # noqa: PLC0415

    try:
        loaded = np.load(path, allow_pickle=False)
        array = loaded if path.suffix == ".npy" else loaded[loaded.files[0] if len(loaded.files) == 1 else "labels"]
    except (*BROKEN, ValueError, KeyError) as error:
        raise InputError(f"{path} holds no labels ({error}); write them anew with numpy.save") from None
    if array.ndim != 1:
        raise InputError(f"{path} holds an array of shape {array.shape}; labels are (n,)")
    return list(array.tolist())


def place_of(path: Path, row: int, quoting: str) -> str:
    """Return where a row of a table, or of a file that `labels_in` reads, stands; for errors, as it is read anew."""
    if path.suffix in (".npy", ".npz"):
        return f"{path}, row {row + 1}"
    return next(islice(records(path, quoting), row, None)).place


def as_labels(found: Sequence[Any], names: Sequence[str] | None) -> Labels:
    """Return labels as numbers of columns where all are numbers, or written as such and none is a name; else as names.

    Args:
        found: labels of any kind.
        names: what the columns are called; None where nothing says so.
    """
    known = set(names or ())
    numbers = all(
        (isinstance(label, int) and not isinstance(label, bool))
        or (isinstance(label, str) and label.isdecimal() and label not in known)
        for label in found
    )
    return [int(label) for label in found] if numbers else [str(label) for label in found]


def listed(path: Path, flag: str) -> Any:
    """Return a list, or in JSON and YAML a mapping, that a file holds; of a .txt file its lines.

    Raises:
        InputError: it cannot be read, or holds neither.
    """
    if path.suffix.lower() not in LISTS:
        raise InputError(f"{flag} {path} has the unknown ending '{path.suffix}'; use one of {', '.join(LISTS)}")
    text = read_text(path)
    if path.suffix.lower() == ".txt":
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        content = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"{flag} {path} is malformed ({' '.join(str(error).split())[:160]})") from None
    if not isinstance(content, list | dict):
        raise InputError(f"{flag} {path} holds neither a list nor a mapping; give a text per label")
    return content


def texts_of_labels(names: list[str] | None, given: Any, flag: str) -> list[str]:
    """Return the text of each label, in the order of the logits' columns.

    Args:
        names: what the labels are called; None where they are numbers.
        given: a list in the order of the columns, a mapping from names, or None: names with spaces for underscores.
        flag: what a message calls it.

    Raises:
        InputError: a name is none of these, there are more or fewer texts than names, or neither names nor texts.
    """
    if names is None and not isinstance(given, list):
        raise InputError(f"labels are numbers; say what they mean with {flag}, a file with a text per line")
    if isinstance(given, list):
        if names is not None and len(given) != len(names):
            raise InputError(f"{flag} has {len(given)} texts, and there are {len(names)} labels")
        return [str(text) for text in given]
    assert names is not None
    texts = {str(name): str(text) for name, text in (given or {}).items()}
    for name in texts:
        if name not in names:
            raise InputError(f"{flag} gives a text to '{name}', which is no label{nearest(name, names)}")
    return [texts.get(name, readable(name)) for name in names]
