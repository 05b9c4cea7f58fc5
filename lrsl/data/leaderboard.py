"""Predictions on texts whose labels a benchmark keeps, in the form in which it takes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lrsl.data.corpus import Corpus


def write_leaderboard(path: Path, corpus: Corpus, predicted: Sequence[int]) -> None:
    """Write one JSON object per unlabelled text, `{"id": 0, "label": "110"}`, as CLUE takes them.

    Args:
        path: the file, such as `iflytek_predict.json`, the name CLUE asks for.
        corpus: its `unlabelled` texts are the ones predicted; an id made of digits is written as a number.
        predicted: the label of each of them, as its position in `corpus.labels`.

    Raises:
        ValueError: there are no unlabelled texts, or not one prediction for each.
    """
    if corpus.unlabelled is None:
        raise ValueError(f"{corpus.name} has no unlabelled texts")
    lines = [
        json.dumps({"id": int(name) if name.isdecimal() else name, "label": corpus.labels[label]}, ensure_ascii=False)
        for name, label in zip(corpus.unlabelled.ids, predicted, strict=True)
    ]
    partial = path.with_suffix(f"{path.suffix}.partial")
    partial.unlink(missing_ok=True)  # a link could lead anywhere
    partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    partial.replace(path)
