"""A run from beginning to end: classifier → confused labels → embedding → similarity → test.

One direction, one function per stage. Each stage seeds itself, so that what one does never changes another.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from hydra.utils import get_class

from lrsl.config.schema import Config, EmbeddingConfig, ModelConfig
from lrsl.data import Corpus, load_corpus
from lrsl.data.leaderboard import write_leaderboard
from lrsl.errors import InputError
from lrsl.reranking.component import Component
from lrsl.reranking.detector import Detector
from lrsl.reranking.fusion import Fusion
from lrsl.reranking.rule import Rule, recorded_scores
from lrsl.reranking.threshold import ThresholdRule
from lrsl.reranking.view import View
from lrsl.run import artifacts, results
from lrsl.run.commit import commit
from lrsl.run.outcome import Tested, describe_labels, hard_sample_table, measure, summary_metrics
from lrsl.run.stages.classifier import mine_confused_labels, train_classifier
from lrsl.run.stages.embedding import embedding_off_the_shelf, finetune_embedding
from lrsl.run.stages.job import Job
from lrsl.run.stages.test import rerank
from lrsl.run.store import Store
from lrsl.tracking import Tracker

Seam = TypeVar("Seam", bound=Component)

Figures = Callable[[Path, Path], Mapping[str, Path]]
"""Draws the figures of the run in one folder into another and returns the image files by name."""


def run(config: Config, folder: Path, figures: Figures | None = None) -> dict[str, Any]:
    """Train, rerank and measure; write results.json and predictions.jsonl into `folder` and return the results.

    Args:
        config: the run.
        folder: where everything the run leaves behind goes.
        figures: draws what is shown of the run where it is tracked.

    Raises:
        InputError: something the user gave is wrong.
    """
    commit()  # now: someone may commit while this trains
    corpus = load_corpus(config.dataset, config.data_dir)
    check(config, corpus)
    rule, view = configured_rule(config), component(View, "view", config.reranker.view)
    watch = Stopwatch()
    with Tracker(config, folder) as tracker, stage_store(config, folder) as store:
        job = Job(config, corpus, folder, tracker, store)
        with watch("classifier"), enough_memory("classifier", "model", config.model):
            classifier = train_classifier(job, rule)
            logits = {split: classifier.logits(split) for split in job.predicted}
        with watch("confused labels"), enough_memory("classifier", "model", config.model):
            confused = mine_confused_labels(job, classifier)
        classifier.let_go()
        release()  # before the embedding needs room of its own
        with watch("embedding"), enough_memory("embedding", "embedding", config.embedding):
            embedding = finetune_embedding(job, confused)
        release()
        with watch("similarity"), enough_memory("embedding", "embedding", config.embedding):
            similarity = {split: embedding.similarity(view, split, logits[split]) for split in job.predicted}
            before = embedding_off_the_shelf(job).label_similarity() if config.embedding.finetune else None
            labels = describe_labels(corpus, before, embedding.label_similarity())
        with watch("test"):
            fitted, reranked = rerank(job, rule, logits, similarity)
            measured = measure(config, corpus, Tested(logits, similarity, fitted, reranked))
        measured.results["seconds"] = watch.seconds
        if corpus.unlabelled is not None and config.dataset.leaderboard is not None:
            predicted = fitted.rerank(logits["unlabelled"], [recorded_scores(similarity["unlabelled"])]).labels
            write_leaderboard(folder / config.dataset.leaderboard, corpus, predicted.tolist())
        results.write(folder, measured.results, measured.predictions, labels)
        shown = summary_metrics(measured.results)
        tracker.summary(shown)
        tracker.table("hard_samples", *hard_sample_table(measured.predictions))
        if figures is not None and config.logger.figures and tracker.shows_images:
            with extra(folder, "figures are not drawn") as scratch:
                drawn = figures(folder, scratch)
                tracker.images({f"figures/{name}": path for name, path in drawn.items()})
        if config.logger.artifacts:
            with extra(folder, "artifacts are not uploaded") as scratch:
                tracker.artifact(
                    "classifier",
                    artifacts.classifier_files(config, corpus, run=folder, scratch=scratch),
                    {"dataset": corpus.name, "seed": config.seed, "val/origin_acc": shown["val/origin_acc"]},
                )
                reranker = artifacts.reranker_files(config, corpus, rule, fitted, view, run=folder, scratch=scratch)
                if reranker:
                    tracker.artifact(
                        "reranker", reranker, {"seed": config.seed, "val/rerank_acc": shown["val/rerank_acc"]}
                    )
    results.show(measured.results)
    return measured.results


@contextmanager
def stage_store(config: Config, folder: Path) -> Iterator[Store]:
    """Give the store of what stages make; with `cache=off` one that the run leaves nothing in."""
    if config.cache:
        yield Store(Path(config.cache_dir), again=config.rerun)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".", ignore_cleanup_errors=True) as scratch:
        yield Store(Path(scratch))


@contextmanager
def extra(folder: Path, otherwise: str) -> Iterator[Path]:
    """Give a folder for a while for what is not worth failing for: the results are there; say why it is not done."""
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".", ignore_cleanup_errors=True) as scratch:
            yield Path(scratch)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        print(f"The run's {otherwise}: {reason}.", flush=True)


def check(config: Config, corpus: Corpus) -> None:
    """Check what needs both the configuration and the data.

    Raises:
        InputError: k is larger than the number of labels.
    """
    classes = len(corpus.labels)
    if config.reranker.k > classes:
        raise InputError(
            f"reranker.k={config.reranker.k} is too large; {corpus.name} has {classes} labels, "
            f"so it must be at most {classes}"
        )


def configured_rule(config: Config) -> Rule:
    """Return the configured detector, threshold rule and fusion.

    Raises:
        InputError: one of them cannot be made.
    """
    reranker = config.reranker
    return Rule(
        component(Detector, "detector", reranker.detector),
        component(ThresholdRule, "threshold", reranker.threshold),
        component(Fusion, "fusion", reranker.fusion),
    )


def component(seam: type[Seam], key: str, settings: dict[str, Any]) -> Seam:
    """Return the component that is configured for a seam.

    Args:
        seam: what it has to be, such as `View`.
        key: its key below `reranker`.
        settings: `_target_` and the arguments.

    Raises:
        InputError: its `_target_` is missing or cannot be made with what stands beside it.
    """
    if "_target_" not in settings:
        raise InputError(f"reranker.{key} names no class; choose one with reranker/{key}=NAME, or set its _target_")
    name = str(settings["_target_"])
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # a module of the user's own, whichever door was taken
    try:
        made = get_class(name)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(f"reranker.{key}._target_={name} cannot be imported: {reason}") from None
    if seam not in made.__mro__:
        raise InputError(
            f"reranker.{key}._target_={name} is no lrsl.{seam.__name__}; name a class that has it as its base"
        )
    try:
        return cast(Seam, made(**{argument: value for argument, value in settings.items() if argument != "_target_"}))
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(f"reranker.{key} cannot be made: {name} says {reason}") from None


class Stopwatch:
    """Seconds per stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time what happens inside."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 2)


@contextmanager
def enough_memory(stage: str, group: str, settings: ModelConfig | EmbeddingConfig) -> Iterator[None]:
    """Say what to lower when a GPU's memory does not do for what happens inside.

    Raises:
        InputError: it does not.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        remedies = ["lower one of them"]
        if isinstance(settings, ModelConfig) and settings.architecture == "llm":
            remedies += [] if settings.quantize == "nf4" else ["set model.quantize=nf4"]
            remedies += [] if settings.gradient_checkpointing else ["set model.gradient_checkpointing=true"]
        raise InputError(
            f"the GPU's memory is too small for the {stage} with {group}.batch_size={settings.batch_size} and "
            f"{group}.max_length={settings.max_length}; {', or '.join(remedies)}"
        ) from None


def release() -> None:
    """Give back what a run held, so that memory does not grow over a sweep."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with suppress(AttributeError, OSError, TypeError):  # glibc keeps what was freed until told; others lack the call
        ctypes.CDLL(None).malloc_trim(0)
