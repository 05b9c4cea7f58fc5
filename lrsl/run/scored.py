"""The logits and view scores of a run, from which any rule can be fitted and measured without training again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from lrsl import files
from lrsl.data.corpus import Corpus
from lrsl.errors import InputError
from lrsl.reranking.checks import check_labels, check_logits
from lrsl.reranking.folds import first_alike
from lrsl.run.results import SCORES
from lrsl.run.rules import ConfiguredView
from lrsl.run.stages.test import Scores

SPLITS = ("val", "test")


@dataclass(frozen=True)
class Scored:
    """What a run knows of validation and test.

    Attributes:
        logits: the classifier's by split, `(n, classes)`.
        labels: the true labels by split, `(n,)`.
        views: each view's scores by the name of the view and by split, `(n, classes)`, NaN where it gives none.
        settings: what each view was configured with, by its name.
        alike: of each row the first with the same text, by split, `(n,)`; None of runs that have not kept it.
    """

    logits: Mapping[str, Tensor]
    labels: Mapping[str, Tensor]
    views: Mapping[str, Mapping[str, Tensor]]
    settings: Mapping[str, str]
    alike: Mapping[str, Tensor] | None = None

    def of(self, view: ConfiguredView, split: str) -> Tensor | None:
        """Return the scores that a view of these settings gave the texts of a split; None where there was no such."""
        asked = _described(view)
        return next((self.views[name][split] for name, settings in self.settings.items() if settings == asked), None)


def _described(view: ConfiguredView) -> str:
    return json.dumps(dict(view.settings), sort_keys=True, default=str)


def write(
    folder: Path,
    corpus: Corpus,
    logits: Mapping[str, Tensor],
    views: Mapping[str, Sequence[ConfiguredView]],
    scores: Mapping[str, Scores],
) -> None:
    """Write logits, labels and every view's scores of validation and test; scores with 16 bits, which rank alike.

    Args:
        folder: the run's.
        corpus: its data.
        logits: the classifier's by split.
        views: the views of each rule, by its name; two of the same settings are kept once.
        scores: the scores of these views.
    """
    tensors: dict[str, Tensor] = {}
    settings: dict[str, str] = {}
    for rule, configured in views.items():
        for number, view in enumerate(configured):
            described = _described(view)
            name = view.name
            while settings.get(name, described) != described:
                name += "+"  # the same view with other settings
            settings[name] = described
            tensors |= {f"{split}.view.{name}": scores[rule][split][number].half() for split in SPLITS}
    for split in SPLITS:
        tensors[f"{split}.logits"] = logits[split].float()
        tensors[f"{split}.labels"] = torch.tensor(getattr(corpus, split).labels)
        tensors[f"{split}.alike"] = first_alike(getattr(corpus, split).texts).int()
    partial = folder / f"{SCORES}{files.PARTIAL}"
    partial.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, partial, metadata=settings)
    files.share(partial)
    files.replace(partial, folder / SCORES)


def read(folder: Path) -> Scored:
    """Return what `write` wrote.

    Raises:
        InputError: there is no such file in the folder, or it is damaged.
    """
    path = folder / SCORES
    if not path.is_file():
        raise InputError(f"{folder} has no {SCORES}; run it again with this version, which keeps logits and scores")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
            settings = file.metadata() or {}
        views: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            split, kind, view = (*name.split(".", 2), "")[:3]
            if kind == "view":
                views.setdefault(view, {})[split] = tensor.float()
        _check(tensors)
        if any(views.get(name, {}).keys() != {*SPLITS} for name in settings):
            raise ValueError("a view has no scores")
        return Scored(
            {split: tensors[f"{split}.logits"] for split in SPLITS},
            {split: tensors[f"{split}.labels"] for split in SPLITS},
            views,
            settings,
            {split: tensors[f"{split}.alike"].long() for split in SPLITS} if "val.alike" in tensors else None,
        )
    except Exception as error:
        raise InputError(f"{path} is damaged ({error}); run it again with rerun=true") from None


def _check(tensors: Mapping[str, Tensor]) -> None:
    """Check that logits, labels and scores of each split fit together.

    Raises:
        ValueError: they do not.
    """
    for split in SPLITS:
        logits, labels = tensors[f"{split}.logits"], tensors[f"{split}.labels"]
        check_logits(logits)
        check_labels(labels, len(logits), logits.shape[1])
        if not logits.is_floating_point() or labels.is_floating_point() or not len(logits):
            raise ValueError(f"{split} has no logits, or no labels")
        alike = tensors.get(f"{split}.alike", labels)
        if alike.shape != labels.shape or alike.is_floating_point():
            raise ValueError(f"{split}.alike has the shape {tuple(alike.shape)}; it must be {tuple(labels.shape)}")
        for name, scores in tensors.items():
            if name.startswith(f"{split}.view.") and (scores.shape != logits.shape or not scores.is_floating_point()):
                raise ValueError(f"{name} has the shape {tuple(scores.shape)}; it must be {tuple(logits.shape)}")
