"""The groups and the keys of a run's configuration, by their full names."""

from __future__ import annotations

import dataclasses
from typing import Any, get_type_hints

from lrsl.config.schema import Config

GROUPS = ("dataset", "model", "embedding", "reranker", "trainer", "logger", "launcher", "experiment")


def known_keys(schema: type = Config, prefix: str = "") -> list[str]:
    """Return every key of the schema, in full, as in `model.epochs`."""
    keys = []
    for name, hint in get_type_hints(schema).items():
        keys += known_keys(hint, f"{prefix}{name}.") if is_schema(hint) else [f"{prefix}{name}"]
    return keys


def values(key: str) -> list[str]:
    """Return what a key can be set to, where that is `true` or `false`; else nothing, for that is anyone's guess."""
    hint: Any = Config
    for part in key.split("."):
        hint = get_type_hints(hint).get(part) if is_schema(hint) else None
    return ["false", "true"] if hint is bool else []


def is_schema(hint: Any) -> bool:
    """Tell whether a type is a part of the schema."""
    return isinstance(hint, type) and dataclasses.is_dataclass(hint)
