"""What clients send, checked, and what they get, as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lrsl.errors import nearest, said
from lrsl.plugin.answers import Answer, Explanation
from lrsl.reranking.positional import logits_of, texts_of
from lrsl.serving.limits import Limits, RequestError
from lrsl.strict_json import parsed


class Asked(NamedTuple):
    """What a request asks about.

    Attributes:
        texts: its texts.
        logits: the classifier's, `(n, classes)`; None where it brings none.
        k: number of candidates; the reranker's where it says nothing.
    """

    texts: list[str]
    logits: NDArray[np.float64] | None
    k: int | None


def asked(body: bytes, names: Sequence[str], limits: Limits, *, takes: bool, needs: bool) -> Asked:
    """Return what a body asks about.

    Args:
        body: as it was sent.
        names: what the classes are called, in the order of the logits' columns.
        limits: how much one request may ask for.
        takes: whether logits may be sent.
        needs: whether they must be.

    Raises:
        RequestError: it is no JSON, or not such as is wanted.
    """
    given = _object(body)
    keys = ["texts", *(["logits"] if takes else []), "k"]
    for key in given:
        if key not in keys:
            raise RequestError(422, said(f"{key!r} is no key; they are {', '.join(keys)}{nearest(key, keys)}"))
    if "texts" not in given or (needs and "logits" not in given):
        missing = "logits are missing; send a row for each text" if "texts" in given else "texts are missing"
        raise RequestError(422, missing)
    try:
        texts = _texts(given["texts"], limits)
        logits = _logits(given["logits"], names) if given.get("logits") is not None or needs else None
    except ValueError as error:
        raise RequestError(422, said(error)) from None
    if logits is not None and len(logits) != len(texts):
        raise RequestError(
            422, f"logits are of {len(logits):,} and texts of {len(texts):,} rows; send a row for each text"
        )
    k = given.get("k")
    if k is not None and (isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= len(names)):
        raise RequestError(422, said(f"k is {_short(k)}; with {len(names)} labels it must be 1 to {len(names)}"))
    return Asked(texts, logits, k)


def answer(of: Answer) -> dict[str, Any]:
    """Return an answer as plain data, such as `lrsl rerank` writes."""
    labels = {} if of.names is None else {"labels": of.names}
    candidates = [{"label": one.name, "before": one.before, "after": _finite(one.after)} for one in of.candidates]
    return {"answer": of.name, "hard": of.hard, **labels, "candidates": candidates}


def explanation(of: Explanation) -> dict[str, Any]:
    """Return an explanation as plain data; null for what a view has not scored."""
    return {
        "text": of.text,
        "answer": of.answer,
        "hard": of.hard,
        "hardness": _finite(of.hardness),
        "threshold": _finite(of.threshold),
        "reranked": of.hard and of.is_on,
        "candidates": [
            {
                "label": one.name,
                "before": one.before,
                "after": _finite(one.after),
                "views": {name: _finite(scores[number]) for name, scores in of.views.items()},
            }
            for number, one in enumerate(of.candidates)
        ],
    }


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        given = parsed(body.decode("utf-8"), distinct=True, finite=True)
    except UnicodeDecodeError as error:
        raise RequestError(400, f"the body is not in UTF-8, from byte {error.start:,} on") from None
    except json.JSONDecodeError as error:
        raise RequestError(400, f"the body is no JSON: {error.msg}, at character {error.pos:,}") from None
    except ValueError as error:
        raise RequestError(400, said(f"the body is no JSON that is read: {error}")) from None
    if not isinstance(given, dict):
        raise RequestError(422, f'the body is {_short(given)}; it must be an object such as {{"texts": ["…"]}}')
    return given


def _texts(given: Any, limits: Limits) -> list[str]:
    if not isinstance(given, list):
        raise ValueError(f"texts are {_short(given)}; they must be a list with a string per row")
    if len(given) > limits.rows:
        raise RequestError(413, f"there are {len(given):,} texts; a request has at most {limits.rows:,}")
    texts = texts_of(given)
    for row, text in enumerate(texts):
        if len(text) > limits.characters:
            raise RequestError(413, f"texts[{row}] has {len(text):,} characters; it may have {limits.characters:,}")
    return texts


def _logits(given: Any, names: Sequence[str]) -> NDArray[np.float64]:
    """Return logits `(n, classes)`; a row is a list in the order of the columns, or an object by labels."""
    if not isinstance(given, list):
        raise ValueError(f"logits are {_short(given)}; they must be a list with a row per text")
    rows = [_row(row, number, names) for number, row in enumerate(given)]
    try:
        values = np.array(rows, dtype=np.float64).reshape(len(rows), len(names))
    except OverflowError:
        raise ValueError("logits hold a number that is too large; every value must be a finite number") from None
    return np.asarray(logits_of(values, len(names)).numpy())


def _row(row: Any, number: int, names: Sequence[str]) -> list[float]:
    what = f"logits[{number}]"
    if isinstance(row, dict):
        for name in row:
            if name not in names:
                raise ValueError(f"{what} has {name!r}, which is no label{nearest(name, list(names))}")
        if missing := [name for name in names if name not in row]:
            raise ValueError(f"{what} lacks {len(missing):,} of the {len(names):,} labels, the first {missing[0]!r}")
        row = [row[name] for name in names]
    if not isinstance(row, list):
        raise ValueError(f"{what} is {_short(row)}; it must be a list with a number per label")
    if len(row) != len(names):
        raise ValueError(f"{what} has {len(row):,} values; there are {len(names):,} labels, and one for each is wanted")
    for column, value in enumerate(row):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{what}[{column}] is {_short(value)}; it must be a number")
    return row


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _short(value: Any) -> str:
    """Return a value of JSON as a message shows it."""
    if isinstance(value, list | dict):
        kind = "a list" if isinstance(value, list) else "an object"
        return f"{kind} of {len(value):,}"
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 60 else f"{text[:60]}…"
