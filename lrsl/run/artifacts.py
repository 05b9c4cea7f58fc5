"""The files others need of a run: its classifier and its reranker, as safetensors and JSON, without a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from lrsl.config.schema import Config
from lrsl.data.corpus import Corpus
from lrsl.run.finished import RERANKER
from lrsl.run.stages.classifier import CHECKPOINT

ADAPTER = "adapter"  # the name it has in lrsl.classifiers.llm, which loads PEFT

_PICKLED = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")
CLASSIFIER = "classifier"


def classifier_files(config: Config, corpus: Corpus, *, run: Path, scratch: Path) -> dict[str, Path]:
    """Return the files of a run's classifier by the name they get in its artifact.

    Those are the adapters and the head of a language model, as training has exported them, or else the weights of the
    best epoch, by their names in the network; and `classifier.json` with the labels in the order of the logits and the
    settings the network is built with.

    Args:
        config: the run.
        corpus: its data.
        run: its folder.
        scratch: a folder for files that the run does not have.
    """
    about = {"labels": corpus.labels, "settings": asdict(config.model)}
    files = {"classifier.json": _json(scratch / "classifier.json", about)}
    adapter = run / CLASSIFIER / ADAPTER
    if adapter.is_dir():
        return files | _files(adapter, f"{ADAPTER}/")
    state = torch.load(run / CLASSIFIER / CHECKPOINT, weights_only=True, map_location="cpu")["state_dict"]
    weights = {name.removeprefix("network."): tensor for name, tensor in state.items() if name.startswith("network.")}
    path = scratch / "model.safetensors"
    save_file({name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in weights.items()}, path)
    return files | {path.name: path}


def reranker_files(config: Config, run: Path, *, deployed: bool) -> dict[str, Path]:
    """Return the files of a run's reranker by the name they get in its artifact, a folder for `from_pretrained`.

    None where there can be no such folder: nothing is deployed but the classifier, the embedding is off the shelf, or
    the run has kept none.

    Args:
        config: the run.
        run: its folder.
        deployed: whether a rule is deployed.
    """
    kept = _files(run / RERANKER)
    if not (kept and deployed and config.embedding.finetune):
        return {}
    return {**kept, **_files(run / "embedding", "embedding/")}


def _files(folder: Path, before: str = "") -> dict[str, Path]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix not in _PICKLED)
    return {f"{before}{path.relative_to(folder).as_posix()}": path for path in paths}


def _json(path: Path, content: Mapping[str, Any]) -> Path:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
