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
from lrsl.plugin.saving import CONFIG, LEARNT, saved_rule
from lrsl.reranking.on_hard.conformal import Conformal
from lrsl.run.stages.classifier import CHECKPOINT
from lrsl.run.stages.embedding import TextEmbedding
from lrsl.run.stages.test import Judged

ADAPTER = "adapter"  # the name it has in lrsl.classifiers.llm, which loads PEFT

_PICKLED = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")
CLASSIFIER = "classifier"
RERANKER = "reranker"


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
        return files | _files(adapter, ADAPTER)
    state = torch.load(run / CLASSIFIER / CHECKPOINT, weights_only=True, map_location="cpu")["state_dict"]
    weights = {name.removeprefix("network."): tensor for name, tensor in state.items() if name.startswith("network.")}
    path = scratch / "model.safetensors"
    save_file({name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in weights.items()}, path)
    return files | {path.name: path}


def reranker_files(
    config: Config,
    corpus: Corpus,
    judged: Judged | None,
    conformal: Conformal | None,
    embedding: TextEmbedding,
    *,
    run: Path,
    scratch: Path,
) -> dict[str, Path]:
    """Return the files of a run's reranker by the name they get in its artifact, a folder for `from_pretrained`.

    None where there can be no such folder: nothing is deployed but the classifier, the embedding is off the shelf, a
    component cannot be saved, or two labels have the same text.

    Args:
        config: the run.
        corpus: its data.
        judged: the rule that is deployed.
        conformal: what sets of labels are made with, where there are any.
        embedding: the run's text embedding, with which its views have learnt.
        run: the run's folder.
        scratch: a folder for files that the run does not have.
    """
    texts = corpus.label_texts
    if judged is None or not config.embedding.finetune or len(set(texts)) < len(texts):
        return {}
    views = judged.named.views
    try:
        about, learnt = saved_rule(
            judged.named.rule,
            judged.fitted,
            [view.view for view in views],
            [embedding.fitted(view).learnt() for view in views],
            label_texts=texts,
            k=config.reranker.k,
            on_hard=config.reranker.on_hard,
            coverage=config.reranker.coverage,
            conformal=conformal,
        )
    except ValueError:
        return {}
    files = {CONFIG: _json(scratch / CONFIG, {**about, "report": {}}), **_files(run / "embedding", "embedding")}
    if learnt:
        save_file(learnt, scratch / LEARNT)
        files[LEARNT] = scratch / LEARNT
    return files


def _files(folder: Path, name: str) -> dict[str, Path]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix not in _PICKLED)
    return {f"{name}/{path.relative_to(folder).as_posix()}": path for path in paths}


def _json(path: Path, content: Mapping[str, Any]) -> Path:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
