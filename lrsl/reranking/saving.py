"""Components as plain data, and back: nothing is imported or executed that a file names."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any, TypeVar

from torch import Tensor

from lrsl.reranking import PUBLIC
from lrsl.reranking.component import Component

Kind = TypeVar("Kind", bound=Component)


def under(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a part and a dot, by the rest of their names."""
    return {name[len(part) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{part}.")}


def described(component: Component, seam: type) -> dict[str, Any]:
    """Return a component as plain data: `kind`, the name of its class, and `settings`.

    Args:
        component: a detector, threshold rule, view or fusion.
        seam: which of these, such as `View`.

    Raises:
        ValueError: it could not be made again from that.
    """
    made = type(component)
    name = f"{made.__module__}.{made.__qualname__}"
    if seam not in made.__mro__:
        raise ValueError(f"{name} cannot be saved: it does not name lrsl.{seam.__name__} as its base")
    if "." in made.__qualname__ or made.__module__ == "__main__":
        raise ValueError(
            f"{name} cannot be saved: a class of the same name could not be found again; put it in a module"
        )
    if PUBLIC.get(made.__qualname__) == made.__module__:
        name = f"lrsl.{made.__qualname__}"
    settings = component.settings()
    try:
        same = json.loads(json.dumps(settings)) == settings
    except (TypeError, ValueError):
        same = False
    if not same:
        raise ValueError(f"{name} cannot be saved: its settings are not plain data (text, numbers, lists, mappings)")
    return {"kind": name, "settings": settings}


def made_again(description: Any, seam: type[Kind], *, saved: bool = True) -> Kind:
    """Return the component that was described.

    A class of this package is found by its short name. Any other has to be imported before, by whoever wants it: its
    module is not imported here, and a class that does not name the seam as its base is not made.

    Args:
        description: what `described` returned.
        seam: which seam the component is for, such as `View`.
        saved: whether it comes from a saved reranker; else somebody typed it.

    Raises:
        ValueError: the class is not imported or none of the seam's, or does not take these settings.
    """
    try:
        name, settings = str(description["kind"]), dict(description["settings"])
    except (TypeError, KeyError, ValueError):
        raise ValueError(f"the saved {seam.__name__} has no kind and settings; fit and save it anew") from None
    module, _, last = name.rpartition(".")
    if module == "lrsl" and last in PUBLIC:
        made: Any = getattr(import_module(PUBLIC[last]), last)
    else:
        if module not in sys.modules:
            raise ValueError(f"{name} is not imported; import {module or name} before loading a reranker that uses it")
        made = vars(sys.modules[module]).get(last)
    if not (isinstance(made, type) and seam in made.__mro__ and made is not seam):
        raise ValueError(f"{name} is no lrsl.{seam.__name__}; it must be a class that names it as its base")
    which, advice = ("the saved ", "; fit and save it anew") if saved else ("", "")
    wrong = next((key for key, value in settings.items() if not _may_be(made, str(key), value)), None)
    if wrong is not None:
        raise ValueError(f"{name} does not take {which}{wrong}, {str(settings[wrong])[:60]}{advice}")
    try:
        component: Kind = made(**settings)
    except (TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{name} does not take {which or 'these '}settings ({error}){advice}") from None
    return component


def _may_be(made: type, key: str, value: Any) -> bool:
    """Tell whether a saved value is of the type that a dataclass says of the key, where it says a plain one."""
    fields = dataclasses.fields(made) if dataclasses.is_dataclass(made) else ()
    said = next((field.type for field in fields if field.name == key), None)
    said = said.__name__ if isinstance(said, type) else said
    kinds = [_PLAIN.get(part) for part in said.split(" | ")] if isinstance(said, str) else [None]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:  # torch has no larger ones
        return False
    if None in kinds:
        return True
    return any(isinstance(value, kind) and (kind == (bool,) or not isinstance(value, bool)) for kind in kinds if kind)


_PLAIN: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "None": (type(None),),
}
