"""The studies of the paper, which read what runs left behind: their package is loaded when one is asked for.

They import this package and not the other way round, so they are named here and imported nowhere. A checkout has them
in experiments/; an installed package has them below lrsl/studies/, beside nothing that could have the same name.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

from lrsl.config import place


def load(name: str) -> ModuleType:
    """Return a module of `experiments`, such as `report`.

    Raises:
        ModuleNotFoundError: something that it needs is not installed.
    """
    folder = str(place.STUDIES)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return import_module(f"experiments.{name}")
