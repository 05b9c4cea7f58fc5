"""Texts, labels and logits in whatever form people bring them, as positions: the first is the first row of each.

Lists, tuples, arrays of numpy and Arrow, tensors of torch, Series and frames of pandas and polars are taken by their
order, never by index or key. The libraries are not imported for it.
"""

from __future__ import annotations

import numbers
import re
from collections.abc import Iterable, Mapping, Sequence, Set, ValuesView
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from lrsl import core
from lrsl.errors import nearest

Array = TypeVar("Array")

FLOOR = 1e-12
"""What probabilities are raised to in the hint, before their logarithm is taken."""
WHOLE = (1.0, 100.0)  # what the probabilities of a row add up to, or their percentages
MANY = 8  # rows, of which none adds up to 1 by chance
ROUNDING = 1e-5  # of a sum in float32
ROUNDED = 0.02  # how far from 1 a row of probabilities is that were written down with two or three digits
MOST_ROUNDED = 0.1  # how far it is at most
HALF = re.compile("[\ud800-\udfff]")
DIGITS = (2, 3, 4)  # of probabilities that are written down
HALVES = ((torch.float16, 2**-10), (torch.bfloat16, 2**-7))  # and how far a sum of numbers of that type may be off


def texts_of(given: Any, what: str = "texts", right: str = "a list with a string per row") -> list[str]:
    """Return texts as a list.

    Args:
        given: the texts, in the order of the rows.
        what: what a message calls them.
        right: what a message says would be right.

    Raises:
        ValueError: they have no order, are a single string, or one of them is no string or has half a character, of a
            surrogate pair.
    """
    texts = _listed(given, what, right)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"{what}[{row}] is {_short(text)}; it must be a string")
        if HALF.search(text):  # no tokeniser takes it
            raise ValueError(f"{what}[{row}] has half a character in {_short(text)}; remove it")
    return [str(text) for text in texts]  # numpy's strings are of a kind of their own


def labels_of(
    given: Any, classes: int, names: Sequence[str] | None = None, what: str = "labels", known: str = "label texts"
) -> Tensor:
    """Return labels as numbers of classes, `(n,)` int64.

    Args:
        given: the labels, in the order of the rows: numbers of classes, or strings where classes have names.
        classes: number of classes.
        names: what each class is called.
        what: what a message calls them.
        known: what a message calls the names.

    Raises:
        ValueError: they have no order, are not `(n,)`, or one of them is no class.
    """
    if isinstance(given, Tensor):
        given = given.detach().cpu()
    right = f"a list with the number of a class per row, 0 to {classes - 1}"
    given = _listed(given, what, right)
    number_of = {name: number for number, name in enumerate(names or ())}
    found = [_class(label, number_of, f"{what}[{row}]", classes, known) for row, label in enumerate(given)]
    _check_means_places(given, found, number_of, what)
    return torch.tensor(found, dtype=torch.int64)


def logits_of(given: Any, classes: int | None = None, what: str = "logits", names: Sequence[str] = ()) -> Tensor:
    """Return logits as a tensor `(n, classes)` on the CPU, in floating point; whole numbers become float64.

    Args:
        given: the logits, a row per text.
        classes: number of classes, where it is known.
        what: what a message calls them.
        names: what each class is called, for frames whose columns are named.

    Raises:
        ValueError: they have no order, are not `(n, classes)`, are no numbers or probabilities, or one is not finite.
    """
    _check_ordered(given, what, "a matrix (n, classes)")
    _check_columns(given, what, names)
    values = _tensor(given, what)
    if values.numel() == 0 and values.ndim == 1:  # an empty list does not say how many columns it has
        values = values.reshape(0, classes or 0)
    if values.ndim != 2 or classes not in (None, values.shape[1]):
        right = f"with {classes} label texts it is (n, {classes})" if classes else "it must be (n, classes)"
        raise ValueError(f"{what} have shape {tuple(values.shape)}; {right}")
    core.check_finite(what, values)
    check_no_probabilities(values, what)
    return values


def check_no_probabilities(logits: Tensor, what: str = "logits") -> None:
    """Check that not all rows of finite logits `(n, classes)` are probabilities, which rank alike but vary otherwise.

    Probabilities are at least 0, and each row adds up to 1, or to 100. One row of logits may come near that by chance,
    so that with few rows it is to within the rounding that shows in their values: two to four digits, or half
    precision, whatever type they have now. Logits of one class are not looked at.

    Raises:
        ValueError: they are.
    """
    if logits.shape[0] == 0 or logits.shape[1] < 2 or bool((logits < 0).any()):
        return
    sums = logits.double().sum(-1)
    for whole in WHOLE:
        if bool(((sums - whole).abs() <= whole * _reach(logits, whole)).all()):
            by = "" if whole == 1 else f" / {whole:g}"
            raise ValueError(
                f"{what} are probabilities: none is below 0 and each row adds up to {whole:g}; logits are wanted, or "
                f"log-probabilities, such as np.log(np.maximum(p{by}, {FLOOR:g}))"
            )


def _reach(values: Tensor, whole: float) -> float:
    """Return how far from 1 the rows of probabilities add up to at most, by the rounding that shows in them.

    Args:
        values: the probabilities times `whole`, `(n, classes)`.
        whole: what they add up to.
    """
    reach = ROUNDED if len(values) >= MANY else ROUNDING
    for digits in DIGITS:
        scaled = values.double() / whole * 10**digits
        if bool(((scaled - scaled.round()).abs() < 10**digits * 1e-7).all()):
            return max(reach, min(values.shape[1] * 0.5 * 10.0**-digits, MOST_ROUNDED))
    for kind, error in HALVES:
        if bool((values == values.to(kind)).all()):
            return max(reach, error)
    return reach


def like(given: Array, result: Tensor) -> Array:
    """Return a result as what was given: a tensor on the same device for a tensor, a numpy array for anything else."""
    made: Any = result.to(given.device) if isinstance(given, Tensor) else result.numpy()
    return made  # type: ignore[no-any-return]


def _listed(given: Any, what: str, right: str) -> list[Any]:
    """Return what was given in a row, as a list of Python's own objects where it can be."""
    _check_ordered(given, what, right)
    shape = getattr(given, "shape", None)
    if isinstance(shape, tuple) and len(shape) != 1:
        raise ValueError(f"{what} are of shape {tuple(shape)}; give {right}")
    for name in ("to_pylist", "to_list", "tolist"):
        if callable(method := getattr(given, name, None)):
            return list(method())
    return list(given)


def _check_ordered(given: Any, what: str, right: str) -> None:
    """Check that there is a first, a second and a third of what was given."""
    if isinstance(given, Mapping | Set) and not isinstance(given, ValuesView):
        kind = "mapping" if isinstance(given, Mapping) else "set"
        why = "whose keys are no positions" if kind == "mapping" else "which has no order"
        raise ValueError(f"{what} are a {kind} ({type(given).__name__}), {why}; give {right}")
    if isinstance(given, str | bytes):
        raise ValueError(f"{what} are a single string, {_short(given)}; give {right}")
    if not isinstance(given, Iterable) and not hasattr(given, "__array__"):
        raise ValueError(f"{what} are {_short(given)}; give {right}")


def _class(label: Any, number_of: Mapping[str, int], what: str, classes: int, known: str) -> int:
    """Return the number of the class that a label stands for."""
    if callable(item := getattr(label, "item", None)) and getattr(label, "ndim", 1) == 0:
        label = item()
    right = f"with {classes} classes it must be a whole number, 0 to {classes - 1}"
    if isinstance(label, str):
        if label in number_of:
            return number_of[label]
        if not number_of:
            raise ValueError(f"{what} is {_short(label)}; {right}")
        raise ValueError(f"{what} is {_short(label)}, which is none of the {known}{nearest(label, list(number_of))}")
    if isinstance(label, bool):
        raise ValueError(f"{what} is {label}, which does not say which class; {right}")
    if isinstance(label, numbers.Real) and not isinstance(label, numbers.Integral) and float(label).is_integer():
        label = int(float(label))
    if not isinstance(label, numbers.Integral):
        several = isinstance(label, Sequence) or hasattr(label, "shape")
        raise ValueError(f"{what} is {'a row of several' if several else _short(label)}; {right}")
    number = int(label)
    if not 0 <= number < classes:
        ignored = "; leave out rows without a label" if number < 0 else ""
        raise ValueError(f"{what} is {number}; with {classes} classes it must be 0 to {classes - 1}{ignored}")
    return number


def _check_means_places(given: Sequence[Any], found: Sequence[int], number_of: Mapping[str, int], what: str) -> None:
    """Check that labels that are numbers are not meant as names of classes, where all of these are numbers, too."""
    numbered = [number for label, number in zip(given, found, strict=True) if not isinstance(label, str)]
    moved = [number for number in numbered if number_of.get(str(number)) != number]
    if moved and all(name.isdecimal() for name in number_of) and all(str(number) in number_of for number in numbered):
        raise ValueError(
            f"{what} are numbers, and so are the label texts, in another order: {moved[0]} may be the class of that "
            f"place or the one of the text '{moved[0]}'; give {what} as strings, by the label texts"
        )


def _check_columns(given: Any, what: str, names: Sequence[str]) -> None:
    """Check that the columns of a frame do not name the classes in another order."""
    columns = getattr(given, "column_names", getattr(given, "columns", None))
    if columns is None or callable(columns):
        return
    found = _listed(columns, f"the columns of {what}", "a list")
    if found == list(names):
        return
    for expected in (list(names), list(range(len(found)))):
        if found != expected and len(found) == len(expected) and set(found) == set(expected):
            wanted = f"{what}[label_texts]" if names and expected == list(names) else f"{what}.sort_index(axis=1)"
            raise ValueError(f"the columns of {what} are the classes in another order; give {wanted}")
    spelt, right = [_spelt(column) for column in found], [_spelt(name) for name in names]
    of_names = len(set(right)) == len(right) and sorted(spelt) == sorted(right)
    if (of_names and spelt != right) or (not of_names and _falls(spelt)):
        raise ValueError(
            f"the columns of {what} are the classes in another order, {', '.join(map(_short, found[:3]))} and so on; "
            "put them in the order of label_texts"
        )


def _spelt(column: Any) -> str:
    """Return a column's name in one spelling, as of `card_arrival` and `Card arrival`."""
    return " ".join(str(column).replace("_", " ").casefold().split())


def _falls(columns: Sequence[str]) -> bool:
    """Tell whether names of columns are one word with numbers, one after the other, but not in ascending order."""
    parts = [re.fullmatch(r"(\D*)(\d+)", column) for column in columns]
    found = [(part[1], int(part[2])) for part in parts if part]
    words, places = {word for word, _ in found}, [number for _, number in found]
    consecutive = sorted(places) == list(range(min(places, default=0), min(places, default=0) + len(columns)))
    return len(words) == 1 and consecutive and places != sorted(places)


def _tensor(given: Any, what: str) -> Tensor:
    """Return a matrix in floating point as a tensor on the CPU; a tensor of floating point stays as it is."""
    if not isinstance(given, Tensor):
        return torch.from_numpy(_matrix(given, what))
    values = given.detach().cpu()
    values = values.to_dense() if values.layout != torch.strided else values
    if values.dtype == torch.bool or values.is_complex():
        raise ValueError(f"{what} are of type {values.dtype}; they must be numbers")
    if values.is_floating_point():
        return values.float() if values.element_size() == 1 else values  # little can be computed in 8 bits
    return values.double()


def _matrix(given: Any, what: str) -> np.ndarray[Any, Any]:
    """Return a matrix in floating point as a numpy array that torch can take over."""
    if np.ma.isMaskedArray(given) and np.ma.is_masked(given):
        raise ValueError(f"{what} have masked values; every value must be a number")
    values = _array(given, what)
    if values.dtype == object:  # rows in a Series, or numbers that pandas keeps as objects
        values = _array([_of_row(row) for row in values], what)
    if values.size and values.dtype.kind not in "iuf":
        odd = next((one for one in values.ravel().tolist() if not isinstance(one, float | int) or one is True), False)
        raise ValueError(f"{what} hold {_short(odd)}; every value must be a number")
    known = values.dtype in (np.float16, np.float32, np.float64)
    return np.array(
        values, dtype=values.dtype if known else np.float64, order="C"
    )  # a copy, which torch may write into


def _array(given: Any, what: str) -> np.ndarray[Any, Any]:
    """Return what was given as numpy has it, of whatever type its values are."""
    if isinstance(given, Mapping | Set | str | bytes):
        raise ValueError(f"{what} hold {_short(given)}; every value must be a number")
    table = hasattr(given, "column_names")  # Arrow's, whose list is of keys and values
    for name in ("to_numpy",) if not hasattr(given, "to_pylist") else () if table else ("to_pylist",):
        if callable(method := getattr(given, name, None)):
            given = method()
    if not hasattr(given, "__array__") or isinstance(given, list | tuple):
        given = [_of_row(row) for row in given]
    try:
        return np.asarray(given)
    except ValueError:
        lengths = sorted({len(row) if hasattr(row, "__len__") else 1 for row in given})
        raise ValueError(
            f"the rows of {what} have {lengths[0]} to {lengths[-1]} values; each must have one per class"
        ) from None


def _of_row(row: Any) -> Any:
    """Return one row as numpy takes it."""
    if isinstance(row, Tensor):
        return row.detach().cpu().double().numpy()
    return row.tolist() if isinstance(row, np.ndarray) and row.dtype == object else row


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
