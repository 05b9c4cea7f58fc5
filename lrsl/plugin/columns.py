"""Whether the logits' columns are the classes in the order of the label texts.

Where they are not nothing fails: every text is judged by another label's meaning, and accuracy falls to chance.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import binom
from torch import Tensor

from lrsl.errors import InputError
from lrsl.reranking.folds import folds

CHECKED, TRUSTED = COLUMNS = ("checked", "trusted")
ERROR = 1e-4
"""How often a right order may be taken for a wrong one, by chance."""
USUAL = 0.1  # how far above chance the accuracy of a classifier that has learnt something lies, at least
SHOWN = 3  # columns that a message names


def names_of(classes: Any) -> list[Any]:
    """Return what a classifier calls its classes, in the order of its columns, as Python's own objects.

    Args:
        classes: in any order-keeping form, such as `classes_` of scikit-learn; or `id2label` of transformers.
    """
    if isinstance(classes, dict):
        return [classes[key] for key in sorted(classes, key=int)]
    return list(classes.tolist() if hasattr(classes, "tolist") else classes)


def check_names(classes: Iterable[Any], known: Sequence[str]) -> None:
    """Check that a classifier's own names of its classes do not say another order than the names here.

    Names that are written alike but for case, underscores, hyphens and spaces are the same. Numbers are those of the
    columns. Of a name that is none of those known nothing can be said.

    Raises:
        InputError: they say another order, or there are more or fewer.
    """
    found = names_of(classes)
    if len(found) != len(known):
        raise InputError(f"the classifier has {len(found)} classes and there are {len(known)} label texts")
    if all(isinstance(name, numbers.Integral) for name in found):
        if [int(name) for name in found] != list(range(len(found))):
            raise InputError(
                f"the classifier's columns are the classes {_listed(found)}; give label_texts in that order, and "
                "labels numbered by column"
            )
        return
    exact = {name: column for column, name in enumerate(known)}
    plain: dict[str, list[int]] = {}
    for column, name in enumerate(known):
        plain.setdefault(_plain(name), []).append(column)
    for column, name in enumerate(found):
        alike = plain.get(_plain(str(name)), [])
        expected = exact.get(str(name), alike[0] if len(alike) == 1 else column)
        if expected != column:
            raise InputError(
                f"the classifier calls column {column} of its logits {str(name)!r}, and label_texts have that at "
                f"{expected}; give label_texts in the order of the columns: {_listed(found)}"
            )


def check_order(logits: Tensor, labels: Tensor, known: Sequence[str]) -> None:
    """Check on held-out rows that the columns are not the classes in another order, and the rows not other texts'.

    The order in which the classifier would be right most often is found on one half of the rows and tried on the
    other. Where that beats the order given beyond chance, the columns are in another. Where no order helps and the
    classifier is not better than guessing, by a margin that a classifier has, logits and labels are of other rows. One
    that has nearly always the most frequent label for an answer is let pass, and so is a weak one that is better than
    guessing beyond chance and at least as good as that label. Rows of one label tell nothing.

    Args:
        logits: the classifier's, `(n, classes)`.
        labels: true labels, `(n,)`.
        known: what the classes are called.

    Raises:
        InputError: one of both.
    """
    if len(labels.unique()) < 2:
        return  # any agreement with a single label is what guessing gives
    predicted, classes = logits.argmax(dim=-1).to(labels.device), logits.shape[1]
    right = predicted == labels
    reordered = torch.zeros_like(right)
    for learnt_on, rows in folds(len(labels), 2):
        reordered[rows] = _best_order(predicted[learnt_on], labels[learnt_on], classes)[predicted[rows]] == labels[rows]
    only_reordered, only_given = int((reordered & ~right).sum()), int((right & ~reordered).sum())
    if binom.sf(only_reordered - 1, only_reordered + only_given, 0.5) < ERROR:
        order = _best_order(predicted, labels, classes)
        seen = predicted.unique().tolist()
        moved = [(column, known[label]) for column, label in enumerate(order.tolist()) if label != column in seen]
        shown = ", ".join(f"column {column} is {name!r}" for column, name in moved[:SHOWN])
        raise InputError(
            f"the columns of logits are in another order than the label texts: as given the classifier is right on "
            f"{right.double().mean():.1%} of the held-out rows, in another order on {reordered.double().mean():.1%} "
            f"({shown}{', …' if len(moved) > SHOWN else ''}); give label_texts, or --names of lrsl fit, in the "
            "order of the columns"
        )
    of_labels, of_answers = (
        counted.bincount(minlength=classes).double() / len(labels) for counted in (labels, predicted)
    )
    accuracy, guessed = float(right.double().mean()), max(float(of_labels @ of_answers), 1 / classes)
    error = math.sqrt(max(guessed * (1 - guessed), accuracy * (1 - accuracy)) / len(labels))
    most = float(of_labels.max())  # what the most frequent label alone would be right on
    nearly_one_answer = float(of_answers.max()) > (1 + most) / 2
    beyond_chance = accuracy > guessed + 3 * error
    if accuracy + 3 * error < guessed + USUAL and (accuracy < most or not (nearly_one_answer or beyond_chance)):
        raise InputError(
            f"the classifier is right on {accuracy:.1%} of the {len(labels):,} held-out rows, where guessing would be "
            f"on {guessed:.1%}; logits, labels and texts must be of the same rows, in the same order (what is tried on "
            f"rows is left out with columns={TRUSTED!r}, --columns {TRUSTED} of lrsl fit)"
        )


def _best_order(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the label `(classes,)` of each column, with which the answers are right most often."""
    counts = torch.zeros(classes, classes, dtype=torch.float64)
    counts.index_put_((predicted, labels), torch.ones(len(labels), dtype=torch.float64), accumulate=True)
    counts.diagonal().add_(0.5)  # of orders that are equally good the one that was given
    return torch.from_numpy(linear_sum_assignment(counts.numpy(), maximize=True)[1])


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _listed(names: Sequence[Any]) -> str:
    shown = ", ".join(str(name) for name in names[:5])
    return f"{shown}, …" if len(names) > 5 else shown
