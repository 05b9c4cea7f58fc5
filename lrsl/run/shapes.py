"""What the files that a run leaves must look like to be worked with, whoever has changed them since."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Is = Callable[[Any], bool]
"""Tells whether a value is of some kind."""

LARGEST = 1e12
"""No figure of a run is larger."""


def number(value: Any) -> bool:
    """Tell whether a value is a finite number that can be a figure of a run."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -LARGEST < value < LARGEST


def whole(value: Any) -> bool:
    """Tell whether a value is a whole number that can be counted to."""
    return isinstance(value, int) and number(value) and value >= 0


def text(value: Any) -> bool:
    """Tell whether a value is text that a file can hold."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def truth(value: Any) -> bool:
    """Tell whether a value is true or false."""
    return isinstance(value, bool)


def maybe(of: Is) -> Is:
    """Return what tells whether a value is missing or of a kind."""
    return lambda value: value is None or of(value)


def either(*kinds: Is) -> Is:
    """Return what tells whether a value is of one of some kinds."""
    return lambda value: any(of(value) for of in kinds)


def listed(of: Is) -> Is:
    """Return what tells whether a value is a list of a kind."""
    return lambda value: isinstance(value, list) and all(map(of, value))


def mapped(of: Is) -> Is:
    """Return what tells whether a value is an object whose values are of a kind, and its keys text."""
    return lambda value: isinstance(value, dict) and all(map(text, value)) and all(map(of, value.values()))


def having(needed: Mapping[str, Is], may: Mapping[str, Is] | None = None) -> Is:
    """Return what tells whether a value is an object with some keys."""
    return lambda value: not wrong(value, needed, may)


def wrong(content: Any, needed: Mapping[str, Is], may: Mapping[str, Is] | None = None) -> str:
    """Return the first key that an object lacks or that is of another kind; empty where it is as it must be.

    Args:
        content: should be an object.
        needed: the kind of each key that it must have.
        may: the kind of each key that it may have.
    """
    if not isinstance(content, dict):
        return "an object"
    lacking = next((key for key, of in needed.items() if key not in content or not of(content[key])), "")
    return lacking or next((key for key, of in (may or {}).items() if key in content and not of(content[key])), "")


def check_results(content: Any) -> None:
    """Check what results.json says.

    Raises:
        ValueError: it is none of a run's; it says which key is missing or of the wrong kind.
    """
    key = wrong(content, RUN, MAY_BE_KNOWN)
    if not key and content["status"] == "finished":
        key = wrong(content, FINISHED, MAY_BE_MEASURED)
    if key:
        raise ValueError(f"{key} is missing or of the wrong kind")


ACCURACIES: Mapping[str, Is] = {"accuracy": number, "accuracy_hard": maybe(number), "accuracy_easy": maybe(number)}
WORTH: Mapping[str, Is] = dict.fromkeys(("gain", "gain_low", "gain_high", "p_value"), number)
MAY_BE_WORTH: Mapping[str, Is] = dict.fromkeys(("only_origin_correct", "only_rerank_correct"), whole)
BESIDE: Mapping[str, Is] = {
    **ACCURACIES,
    "hard_fraction": number,
    "views": listed(text),
    "pays": truth,
    "significance": having(WORTH, MAY_BE_WORTH),
}
ASKED: Mapping[str, Is] = {"answered": number, "accuracy_answered": maybe(number)}
SETS: Mapping[str, Is] = {
    **dict.fromkeys(("coverage", "mean_size", "stated_coverage"), maybe(number)),
    **dict.fromkeys(("n_calibration", "calls"), whole),
}
RUN: Mapping[str, Is] = {"status": text, "dataset": text, "model": text, "seed": whole}
MAY_BE_KNOWN: Mapping[str, Is] = {
    "error": maybe(text),
    "embedding": text,
    "embedding_finetuned": truth,
    "negatives": maybe(text),
    "power": maybe(either(number, text)),
    "commit": maybe(text),
}
COMPARED: Mapping[str, Is] = {
    **dict.fromkeys(("origin", "rerank", "similarity"), having(ACCURACIES)),
    "hard_fraction": number,
}
MAY_BE_COMPARED: Mapping[str, Is] = {
    **dict.fromkeys(("fitted", "control"), having(ACCURACIES)),
    "validation": mapped(either(number, having({"accuracy": number}, ACCURACIES))),
}
"""By what runs of a sweep are compared."""
FINISHED: Mapping[str, Is] = {
    **COMPARED,
    **dict.fromkeys(("k", "n_train", "n_test"), whole),
    "sigma2_mis": number,
}
MAY_BE_MEASURED: Mapping[str, Is] = {
    **dict.fromkeys(("fitted", "control"), having(BESIDE)),
    **dict.fromkeys(("classes", "n_val", "n_hard"), whole),
    **dict.fromkeys(("precision", "machine", "data"), text),
    "significance": having(WORTH, MAY_BE_WORTH),
    "verdict": having({"deployed": text, "reason": text}),
    "validation": mapped(either(number, having(ACCURACIES))),
    "versions": mapped(maybe(text)),
    "rules": mapped(having(ACCURACIES)),
    "on_hard": lambda told: (
        having({"action": text})(told) and (told["action"] == "rerank" or having(ASKED, SETS)(told))
    ),
    "selective": mapped(mapped(either(maybe(number), mapped(number)))),
}
"""What results.json may hold besides; earlier versions knew less."""

ANSWER: Mapping[str, Is] = {
    **dict.fromkeys(("gold", "origin", "rerank"), text),
    "id": either(text, whole),
    "hard": truth,
}
MAY_BE_ANSWERED: Mapping[str, Is] = dict.fromkeys(("fitted", "control", "similarity", "deployed"), text)
"""What a line of predictions.jsonl says of the answers."""

_BEST = listed(lambda pair: isinstance(pair, list) and len(pair) == 2 and text(pair[0]) and number(pair[1]))
PREDICTION: Mapping[str, Is] = {
    **ANSWER,
    **dict.fromkeys(("top_k_before", "top_k_after"), _BEST),
    "text": text,
    "hardness": number,
}
MAY_BE_PREDICTED: Mapping[str, Is] = {
    **MAY_BE_ANSWERED,
    "rerank_if_hard": text,
    **dict.fromkeys(("gold_rank_before", "gold_rank_after"), whole),
    "beside": mapped(having({"hard": truth, "hardness": number, "if_hard": text})),
}
"""A line of predictions.jsonl."""
SUSPECT: Mapping[str, Is] = {
    **dict.fromkeys(("text", "given", "likelier"), text),
    **dict.fromkeys(("probability_given", "probability_likelier"), number),
    "id": either(text, whole),
    "views": listed(text),
}
"""A line of suspect_labels.jsonl."""


def of_labels(content: Any) -> bool:
    """Tell whether labels.json says of each label what it must."""
    counts = mapped(listed(whole))
    if wrong(content, {"labels": listed(text), "counts": counts}, {"groups": maybe(listed(maybe(text)))}):
        return False
    classes = len(content["labels"])
    row = lambda values: listed(number)(values) and len(values) == classes  # noqa: E731
    square = maybe(lambda rows: listed(row)(rows) and len(rows) in (0, classes))
    similarities = (content.get(f"similarity_{name}") for name in ("before", "after"))
    return all(map(square, similarities)) and all(map(row, content["counts"].values()))
