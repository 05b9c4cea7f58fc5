"""A reranker as files, JSON and safetensors, and back; nothing is executed, and nothing that they name is imported."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from lrsl import files
from lrsl.paths import is_file
from lrsl.plugin.calibration import Calibration
from lrsl.plugin.folder import checked, sound
from lrsl.reranking.detector import Detector
from lrsl.reranking.fusion import Fusion
from lrsl.reranking.on_hard.conformal import Conformal
from lrsl.reranking.rule import FittedRule, Rule
from lrsl.reranking.saving import described, made_again
from lrsl.reranking.threshold import ThresholdRule
from lrsl.reranking.view import View
from lrsl.strict_json import parsed

CONFIG = "reranker.json"
LEARNT = "learnt.safetensors"
CARD = "README.md"
EMBEDDING = "embedding"
FORMAT = 1
"""Version of what `save_pretrained` writes; 0 is what version 0.1 wrote, which did not say."""


@dataclass(frozen=True)
class Saved:
    """What lies in the folder of a reranker.

    Attributes:
        about: what it says of itself.
        tensors: what was learnt, by names.
        rule: its components, not fitted.
        views: its views, not fitted.
        embedding: the folder of its embedding; None without one.
    """

    about: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    rule: Rule
    views: list[View]
    embedding: Path | None


def write(folder: Path, about: Mapping[str, Any], learnt: Mapping[str, Tensor], card: str | None = None) -> None:
    """Write what `saved_rule` returned, what else is said, and the card, if there is one, into a folder."""
    if learnt:
        save_file(dict(learnt), folder / LEARNT)
        files.share(folder / LEARNT)
    (folder / CONFIG).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if card is not None:
        (folder / CARD).write_text(card, encoding="utf-8")


def check_holds_one(folder: Path) -> None:
    """Check that there is a reranker in a folder, by its looks.

    Raises:
        ValueError: there is none.
    """
    if not is_file(folder / CONFIG):
        raise ValueError(f"{folder} holds no reranker: {CONFIG} is missing; save one with save_pretrained")


def read(folder: Path) -> Saved:
    """Return what lies in a folder.

    Raises:
        ValueError: there is no reranker, it is damaged or of a later version, or a component is not imported.
    """
    path = folder / CONFIG
    check_holds_one(folder)
    try:
        saved: Any = parsed(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        saved = None
    version = saved.get("format", 0) if isinstance(saved, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        raise ValueError(f"{path} is damaged; fit and save the reranker anew")
    if version > FORMAT:
        raise ValueError(
            f"{path} has format {version}, and this version of lrsl reads up to {FORMAT}; install a later one"
        )
    try:
        about = checked(saved if version else _of_format_0(saved), path)
        rule = about["rule"]
        components = Rule(
            made_again(rule["detector"], Detector),
            made_again(rule["threshold"], ThresholdRule),
            made_again(rule["fusion"], Fusion),
        )
        views = [made_again(view, View) for view in rule["views"]]
    except KeyError as error:
        raise ValueError(f"{path} lacks {error.args[0]}; fit and save the reranker anew") from None
    with sound(folder):
        tensors = load_file(folder / LEARNT) if (folder / LEARNT).is_file() else {}
    embedding = folder / EMBEDDING
    return Saved(about, tensors, components, views, embedding if embedding.is_dir() else None)


def saved_rule(
    rule: Rule,
    fitted: FittedRule,
    views: Sequence[View],
    learnt_by_views: Sequence[Mapping[str, Tensor]],
    *,
    label_texts: Sequence[str],
    k: int,
    on_hard: str = "rerank",
    coverage: float = 0.9,
    names: Sequence[str] | None = None,
    conformal: Conformal | None = None,
    calibration: Calibration | None = None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what a saved reranker says of itself, besides its report, and the tensors that were learnt.

    Raises:
        ValueError: a component cannot be written down.
    """
    about = {
        "format": FORMAT,
        "k": k,
        "sigma2_mis": fitted.detection.threshold,
        "label_texts": list(label_texts),
        "rule": {
            "detector": described(rule.detector, Detector),
            "threshold": described(rule.threshold, ThresholdRule),
            "views": [described(view, View) for view in views],
            "fusion": described(rule.fusion, Fusion),
        },
        "on_hard": {"action": on_hard, "coverage": coverage},
        **({} if names is None else {"names": list(names)}),
    }
    parts = {"detector": fitted.detection.detector.learnt(), "fusion": fitted.fusion.learnt()}
    parts |= {f"view.{number}": learnt for number, learnt in enumerate(learnt_by_views)}
    parts["conformal"] = {} if conformal is None else conformal.learnt()
    parts["calibration"] = {} if calibration is None else calibration.learnt()
    tensors = {f"{part}.{name}": tensor for part, learnt in parts.items() for name, tensor in learnt.items()}
    # views may share tensors, which safetensors does not write
    return about, {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}


def _of_format_0(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return what version 0.1 saved, which had the paper's rule only, as this version would have written it."""
    rule = {
        "detector": {"kind": "lrsl.TopKVariance", "settings": {"k": saved["k"]}},
        "threshold": {"kind": "lrsl.Sigma2Mis", "settings": {}},
        "views": [{"kind": "lrsl.LabelSimilarity", "settings": {}}],
        "fusion": {"kind": "lrsl.Paper", "settings": {"power": saved["power"]}},
    }
    return {**saved, "rule": rule}
