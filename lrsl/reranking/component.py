"""What detectors, threshold rules, views and fusions have in common: plain settings, and something fitted."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor


class Component(Protocol):
    """A part of a reranking rule, before it is fitted.

    It is fully described by its settings, so it can be written to a file and made again. A dataclass describes itself;
    any other class overrides `settings`.
    """

    def settings(self) -> dict[str, Any]:
        """Return the keyword arguments that make this component again, as plain data."""
        made: Any = type(self)
        if not dataclasses.is_dataclass(made):
            raise ValueError(f"{made.__name__} does not say its settings; make it a dataclass, or define settings")
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(made) if field.init}


class Fitted(Protocol):
    """A part of a reranking rule that has been fitted, and does not change any more."""

    def learnt(self) -> Mapping[str, Tensor]:
        """Return what was learnt, by names, for `restore` of the component it came from; nothing unless overridden."""
        return {}
