"""What `Reranker` is made of, checked before anything is loaded or learnt."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from lrsl.embedding.apart import listed, look_alike
from lrsl.reranking.on_hard import ACTIONS
from lrsl.reranking.on_hard.conformal import check_coverage, check_installed
from lrsl.reranking.on_hard.defer import Defer
from lrsl.reranking.positional import texts_of
from lrsl.reranking.view import View

RULES = ("paper", "fitted")
DEPLOY = ("always", "auto")
USUAL_K, USUAL_POWER = 3, 1.0  # the paper's
PARTS = {"detector": "Margin", "threshold": "BestGain", "fusion": "LogLinear"}
"""What may be given of a rule, and one of each kind."""


def label_texts_of(given: Iterable[str]) -> list[str]:
    """Return label texts as a list, and warn of some that look alike.

    Raises:
        ValueError: they are no strings in an order, fewer than two, blank, or one of them stands for two classes.
    """
    texts = texts_of(given, "label_texts", "a list with a text per class, in the order of the logits")
    if len(texts) < 2:
        raise ValueError(f"there is {len(texts)} label text; with fewer than 2 nothing can be reranked")
    for number, text in enumerate(texts):
        if not text.strip():
            raise ValueError(f"label_texts[{number}] is {text!r}; every class needs a text that says what it means")
    twice = sorted({text for text in texts if texts.count(text) > 1})
    if twice:
        raise ValueError(f"label text {twice[0]!r} stands for two classes; every class needs a text of its own")
    if alike := look_alike(texts):
        warnings.warn(f"label texts that look alike stand for several classes: {listed(alike)}", stacklevel=3)
    return texts


def names_of(given: Iterable[str] | None, classes: int) -> list[str] | None:
    """Return the names of classes as a list; None where there are none.

    Raises:
        ValueError: there are more or fewer than classes, or one of them stands for two.
    """
    if given is None:
        return None
    names = texts_of(given, "names", "a list with a name per class, in the order of the logits")
    if len(names) != classes:
        raise ValueError(f"there are {len(names)} names for {classes} label texts")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"the name {twice[0]!r} stands for two classes; every class needs one of its own")
    return names


def check_rule(rule: str, deploy: str | None, power: float | str, fusion: Any) -> None:
    """Check which rule it is, and that what is said of it has an effect.

    Raises:
        ValueError: one of them is unknown, or there is a power that nothing uses.
    """
    if rule not in RULES:
        raise ValueError(f"rule is {rule!r}; it must be one of {', '.join(RULES)}")
    if deploy not in (None, *DEPLOY):
        raise ValueError(f"deploy is {deploy!r}; it must be one of {', '.join(DEPLOY)}")
    if power != USUAL_POWER and (rule != "paper" or fusion is not None):
        raise ValueError(
            f"power is {power!r}, the exponent of the paper's rule, and has no effect here; leave it out, or give "
            "rule='paper' and no fusion"
        )


def check_parts(**parts: Any) -> None:
    """Check that the parts of a rule are objects that can be fitted, not names or classes of such.

    Raises:
        ValueError: one of them is not.
    """
    for name, part in parts.items():
        if part is not None and not _can_be_fitted(part):
            raise ValueError(f"{name} is {part!r}; give an object such as lrsl.{PARTS[name]}()")


def views_of(views: Any) -> list[View] | None:
    """Return the views as a list; None where none are given.

    Raises:
        ValueError: they are no list, or one of them cannot be fitted.
    """
    if views is None:
        return None
    if isinstance(views, str) or not isinstance(views, Iterable):
        raise ValueError(f"views are {views!r}; give a list of them, such as [lrsl.LabelSimilarity()]")
    found = list(views)
    for number, view in enumerate(found):
        if not _can_be_fitted(view):
            raise ValueError(f"views[{number}] is {view!r}; give an object such as lrsl.LabelSimilarity()")
    return found


def _can_be_fitted(part: Any) -> bool:
    return not isinstance(part, type) and callable(getattr(part, "fit", None))


def check_on_hard(on_hard: str, coverage: float, defer: Defer | None) -> None:
    """Check what is to become of hard rows.

    Raises:
        ValueError: it is unknown, the coverage is out of range, or `defer` is missing or has no effect.
        InputError: it is `set`, and crepes is not installed.
    """
    if on_hard not in ACTIONS:
        raise ValueError(f"on_hard is {on_hard!r}; it must be one of {', '.join(ACTIONS)}")
    check_coverage(coverage)
    if on_hard == "defer" and not callable(defer):
        raise ValueError("on_hard is 'defer', and there is nobody to ask; give defer, a function or an lrsl.Endpoint")
    if on_hard != "defer" and defer is not None:
        raise ValueError(f"defer has no effect with on_hard={on_hard!r}; leave it out, or set on_hard='defer'")
    if on_hard == "set":
        check_installed()
