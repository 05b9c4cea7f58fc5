"""The groups and the keys of a run's configuration, by their full names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, get_type_hints

from lrsl.config.schema import Config

GROUPS = ("dataset", "model", "embedding", "reranker", "trainer", "logger", "launcher", "experiment")

SEAMS = tuple(f"reranker/{seam}" for seam in ("detector", "threshold", "view", "fusion"))
"""Groups of the parts of a rule."""

RENAMED = {
    "model.lora_rank": "model.lora.rank",
    "model.lora_alpha": "model.lora.alpha",
    "model.lora_dropout": "model.lora.dropout",
    "model.max_pairs": "model.aphan.pairs",
    "model.lstm_hidden": "model.aphan.lstm_hidden",
    "model.group_loss_weight": "model.hldic.group_loss_weight",
}
"""Keys of earlier versions, and what they are called now."""


def model_of_any_version(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recorded `model` part under the names of this version.

    Earlier versions recorded `pooling`, dropout and attention also where they had no effect.
    """
    made: dict[str, Any] = {}
    for key, value in settings.items():
        *groups, last = RENAMED.get(f"model.{key}", f"model.{key}").split(".")[1:]
        if groups:
            made[groups[0]] = {**made.get(groups[0], {}), last: value}
        else:
            made[last] = {**made.get(last, {}), **value} if isinstance(value, Mapping) else value
    without_effect = {"llm": ("pooling", "encoder_dropout", "attention"), "aphan": ("pooling",)}
    architecture = str(made.get("architecture", "encoder"))
    for key in without_effect.get(architecture, ()):
        made.pop(key, None)
    if architecture in ("encoder", "hldic") and "pooling" in made:
        made["pooling"] = made["pooling"] or "cls"  # which null stands for
    return made


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
