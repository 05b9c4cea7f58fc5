"""A run from beginning to end: classifier → confused labels → embedding → similarity → test.

One direction, one function per stage. Each stage seeds itself, so that what one does never changes another.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrsl import stopping
from lrsl.config.schema import Config, EmbeddingConfig, ModelConfig, RerankerConfig
from lrsl.data import Corpus, load_corpus
from lrsl.data.leaderboard import write_leaderboard
from lrsl.data.remarks import remarks
from lrsl.errors import InputError
from lrsl.nn import processes
from lrsl.nn.memory import release
from lrsl.nn.pretrained import check_is_there, fingerprint
from lrsl.reranking.rule import Rule, recorded_scores
from lrsl.reranking.view.second_classifier import SecondClassifier
from lrsl.run import artifacts, deployed, results, scored, truncation
from lrsl.run.commit import commit
from lrsl.run.on_hard import act, deferral
from lrsl.run.outcome import Measured, describe_labels, hard_sample_table, measure, summary_metrics
from lrsl.run.rules import NamedRule, needs_second_classifier, papers_rule, rules_beside
from lrsl.run.scratch import Scratch
from lrsl.run.stages.classifier import TrainedClassifier, mine_confused_labels, train_classifier
from lrsl.run.stages.context import RunContext
from lrsl.run.stages.embedding import TextEmbedding, embedding_off_the_shelf, finetune_embedding
from lrsl.run.stages.folds import Folds, RefittedClassifier, RefittedEmbedding
from lrsl.run.stages.made_of import named
from lrsl.run.stages.test import Judge, Scores, Tested
from lrsl.run.store import Store
from lrsl.run.suspects import suspect_labels
from lrsl.run.together import SharedStore
from lrsl.run.told_apart import check_embedding, warn_of_look_alikes
from lrsl.tracking import Tracker

UNFINISHED = ".unfinished"
"""The folder in which a run that takes nothing from the store keeps what its stages have made, until it is through."""

Figures = Callable[[Path, Path], Mapping[str, Path]]
"""Draws the figures of the run in one folder into another and returns the image files by name."""


def run(config: Config, folder: Path, figures: Figures | None = None) -> dict[str, Any]:
    """Train, rerank and measure; write results.json and predictions.jsonl into `folder` and return the results.

    Of several processes all train and predict; what comes then the leading one does, and the others return nothing.

    Args:
        config: the run.
        folder: where everything the run leaves behind goes.
        figures: draws what is shown of the run where it is tracked.

    Raises:
        InputError: something the user gave is wrong.
    """
    commit()  # now: someone may commit while this trains
    asked, corpus = config, corpus_of(config)
    config = checked(config, corpus)
    folds = Folds(corpus, config.reranker.folds, config.dataset.drawn_by) if config.reranker.folds else None
    paper, beside, defer = papers_rule(config), rules_beside(config), deferral(config)
    with Tracker(config, folder) as tracker, stage_store(config, folder) as store, ExitStack() as rest:
        context = RunContext(config, corpus if folds is None else folds.corpus, folder, tracker, store)
        watch = Stopwatch(context.earlier)
        with enough_memory("embedding", "embedding", config.embedding):
            check_views(context, [paper, *beside])
        cut = foretell(context, corpus)
        with watch("classifier"), enough_memory("classifier", "model", config.model):
            classifier = classifier_of(context, paper.rule, folds)
            logits = {split: classifier.logits(split) for split in context.predicted}
        second: Mapping[str, Tensor] = {}
        if needs_second_classifier(beside):
            with watch("second classifier"), enough_memory("classifier", "model", config.model):
                second = second_opinion(context, paper.rule, folds)
        with watch("confused labels"), enough_memory("classifier", "model", config.model):
            confused = mine_confused_labels(context, classifier)
        classifier.let_go()
        release()  # before the embedding needs room of its own
        with watch("embedding"), enough_memory("embedding", "embedding", config.embedding):
            embedding = embedding_of(context, confused, folds, logits["val"], [paper, *beside])
        release()
        if not processes.leads():
            return {}
        rest.enter_context(processes.alone())
        with watch("similarity"), enough_memory("embedding", "embedding", config.embedding):
            (view,) = paper.views
            similarity = {split: embedding.scores(view, split, logits[split]) for split in context.predicted}
            before = embedding_off_the_shelf(context).label_similarity() if config.embedding.finetune else None
            labels = describe_labels(corpus, before, embedding.label_similarity())
        with watch("views"), enough_memory("embedding", "embedding", config.embedding):
            scores = {
                rule.name: {split: scores_of(rule, split, embedding, logits, second) for split in context.predicted}
                for rule in beside
            }
        with watch("test"):
            judge = Judge(context.corpus, logits)
            scores["rerank"] = {split: [of_view] for split, of_view in similarity.items()}
            papers = judge.through_callback(paper, scores["rerank"], context)
            tested = Tested(logits, similarity, papers, judge.beside(beside, scores))
            measured = measure(
                config, context.corpus, tested, act(config, context.corpus, tested, scores, defer), asked=asked
            )
            deployed.keep(config, context.corpus, tested, scores, embedding, folder=folder)
        told = out_of_fold(corpus, classifier, embedding)
        measured.results.update(truncated=cut, seconds=watch.seconds, **told)
        suspects = None if folds is None else suspects_of(folds.corpus, logits["val"], [*beside, paper], scores)
        answer_leaderboard(config, corpus, folder, tested, scores)
        scored.write(folder, context.corpus, logits, {rule.name: rule.views for rule in (paper, *beside)}, scores)
        results.write(folder, measured.results, measured.predictions, labels, suspects)
        track(context, measured, figures=figures)
    results.show(measured.results)
    return measured.results


def check_views(context: RunContext, rules: Sequence[NamedRule]) -> None:
    """Check, before hours of training, what views ask: weights and files they name, and an embedding that tells labels.

    Raises:
        InputError: something is not there, or two labels have one vector.
    """
    check_embedding(context, rules)
    for rule in rules:
        for view in rule.views:
            named(view.settings)


def corpus_of(config: Config) -> Corpus:
    """Load the data of a run, once its weights are found to be there.

    Of several processes the leading one does it first, and so downloads what is missing.
    """
    with processes.first():
        for group, settings in (("model", config.model), ("embedding", config.embedding)):
            check_is_there(settings.pretrained, f"{group}.pretrained")
            if processes.are_several():  # every stage asks for it
                fingerprint(settings.pretrained, f"{group}.pretrained")
        return load_corpus(config.dataset, config.data_dir)


@contextmanager
def stage_store(config: Config, folder: Path) -> Iterator[Store]:
    """Give the store of what stages make; with `cache=off` one in the run's folder, which goes when the run is through.

    A run that is killed leaves it there, and goes on from it.
    """
    kind = SharedStore if processes.are_several() else Store
    if config.cache:
        with kind(Path(config.cache_dir), again=config.rerun, spare=folder) as store:
            yield store
        return
    place = folder / UNFINISHED
    with kind(place) as store:
        yield store
    if processes.leads():
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def extra(folder: Path, otherwise: str) -> Iterator[Path]:
    """Give a folder for a while for what is not worth failing for: the results are there; say why it is not done."""
    try:
        with closing(Scratch(folder)) as scratch:
            yield scratch.new()
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        print(f"The run's {otherwise}: {reason}.", flush=True)


def checked(config: Config, corpus: Corpus) -> Config:
    """Check what needs both the configuration and the data, and warn of labels that look alike.

    Where there are fewer labels than k is by default, which is two, what is returned has as large a k as there are.

    Raises:
        InputError: k is larger than the number of labels.
    """
    reranker, classes = config.reranker, len(corpus.labels)
    warn_of_look_alikes(corpus)
    if reranker.k <= classes:
        return config
    if reranker.k != RerankerConfig().k:
        raise InputError(
            f"reranker.k={reranker.k} is too large; {corpus.name} has {classes} labels, so it must be at most {classes}"
        )
    print(f"{corpus.name} has {classes} labels, so reranker.k is {classes}", flush=True)
    narrow: dict[str, Any] = {
        name: {**part, "k": classes}
        for name in ("detector", "view", "fusion")
        if (part := getattr(reranker, name)).get("k") == reranker.k
    }
    return replace(config, reranker=replace(reranker, k=classes, **narrow))


def foretell(context: RunContext, corpus: Corpus) -> truncation.Truncated:
    """Say what will likely be learnt wrongly, or not be read, and return how much is not read."""
    cut = truncation.stored(context, corpus)
    for sentence in (*remarks(corpus), *truncation.sentences(cut, corpus)):
        print(sentence, flush=True)
    return cut


def track(context: RunContext, measured: Measured, *, figures: Figures | None) -> None:
    """Show what a run came to where it is tracked."""
    logger, tracker, shown = context.config.logger, context.tracker, summary_metrics(measured.results)
    tracker.summary(shown)
    tracker.table("hard_samples", *hard_sample_table(measured.predictions))
    if figures is not None and logger.figures and tracker.shows_images:
        draw(context, figures)
    if logger.artifacts:
        upload(context, shown, deployed=measured.results["verdict"]["deployed"] != "origin")


def draw(context: RunContext, figures: Figures) -> None:
    """Draw the figures of a run where it is tracked."""
    with extra(context.folder, "figures are not drawn") as scratch:
        drawn = figures(context.folder, scratch)
        context.tracker.images({f"figures/{name}": path for name, path in drawn.items()})


def upload(context: RunContext, shown: Mapping[str, float], *, deployed: bool) -> None:
    """Put the classifier and the reranker that is deployed where the run is tracked."""
    config, corpus, folder, tracker = context.config, context.corpus, context.folder, context.tracker
    with extra(folder, "artifacts are not uploaded") as scratch:
        classifier = artifacts.classifier_files(config, corpus, run=folder, scratch=scratch)
        about = {"dataset": corpus.name, "seed": config.seed, "val/origin_acc": shown["val/origin_acc"]}
        tracker.artifact("classifier", classifier, about)
        if reranker := artifacts.reranker_files(config, folder, deployed=deployed):
            tracker.artifact("reranker", reranker, {"seed": config.seed, "val/rerank_acc": shown["val/rerank_acc"]})


def classifier_of(context: RunContext, rule: Rule, folds: Folds | None) -> TrainedClassifier:
    """Train the classifier of a run; with folds, its logits of train and val are out of fold."""
    return train_classifier(context, rule) if folds is None else folds.classifier(context, rule)


def embedding_of(
    context: RunContext, confused: Tensor | None, folds: Folds | None, logits: Tensor, rules: Sequence[NamedRule]
) -> TextEmbedding:
    """Fine-tune the embedding of a run; with folds, the scores it gives the views of the rules on val are out of fold.

    Args:
        context: the run.
        confused: the labels each training row is confused with, for `negatives=confused`.
        folds: the folds, if there are any.
        logits: the classifier's on val, `(n, classes)`.
        rules: the rules.
    """
    if folds is None:
        return finetune_embedding(context, confused)
    views = [view for rule in rules for view in rule.views if not isinstance(view.view, SecondClassifier)]
    return folds.embedding(context, logits, confused, views)


def out_of_fold(corpus: Corpus, classifier: TrainedClassifier, embedding: TextEmbedding) -> dict[str, Any]:
    """Return what results.json says of a run with folds besides what it says of any run; nothing without."""
    if not (isinstance(classifier, RefittedClassifier) and isinstance(embedding, RefittedEmbedding)):
        return {}
    epochs = {"classifier": classifier.epochs(), "embedding": embedding.epochs()}
    return {
        "data": corpus.fingerprint(),  # and not of the data dealt anew, by which no finished run would be known again
        "folds": len(classifier.best),
        "epochs": {name: told for name, told in epochs.items() if told},
    }


def suspects_of(
    corpus: Corpus, logits: Tensor, rules: Sequence[NamedRule], scores: Mapping[str, Scores]
) -> list[dict[str, Any]]:
    """Return the samples whose label is likely wrong, by out-of-fold logits and the views of the rules."""
    opinions = {
        view.name: of_view for rule in rules for view, of_view in zip(rule.views, scores[rule.name]["val"], strict=True)
    }
    return suspect_labels(corpus, corpus.val, logits, opinions)


def second_opinion(context: RunContext, rule: Rule, folds: Folds | None) -> dict[str, Tensor]:
    """Train the same classifier with the next seed and return its log-probabilities of each split, `(n, classes)`."""
    other = replace(
        context, config=replace(context.config, seed=context.config.seed + 1), folder=context.folder / "second"
    )
    classifier = classifier_of(other, rule, folds)
    return {split: classifier.logits(split).log_softmax(-1) for split in context.predicted}


def scores_of(
    rule: NamedRule, split: str, embedding: TextEmbedding, logits: Mapping[str, Tensor], second: Mapping[str, Tensor]
) -> list[Tensor]:
    """Return what each view of a rule makes of the texts of a split, `(n, classes)`."""
    return [
        second[split] if isinstance(view.view, SecondClassifier) else embedding.scores(view, split, logits[split])
        for view in rule.views
    ]


def answer_leaderboard(
    config: Config, corpus: Corpus, folder: Path, tested: Tested, scores: Mapping[str, Scores]
) -> None:
    """Write the answers to the texts that have no labels, where there are any."""
    if corpus.unlabelled is not None and config.dataset.leaderboard is not None:
        predicted = answers(tested, config.reranker.deploy, scores)
        write_leaderboard(folder / config.dataset.leaderboard, corpus, predicted.tolist())


def answers(tested: Tested, deploy: str, scores: Mapping[str, Scores]) -> Tensor:
    """Return what is deployed answers to the texts that have no labels, `(n,)`."""
    logits, judged = tested.logits["unlabelled"], tested.deployed(deploy)
    if judged is None:
        return logits.argmax(-1)
    of_views = [recorded_scores(score) for score in scores[judged.named.name]["unlabelled"]]
    return judged.fitted.rerank(logits, of_views).labels


class Stopwatch:
    """Seconds per stage.

    Args:
        earlier: seconds before a training was taken up by this process; what is added counts for the stage under way.
    """

    def __init__(self, earlier: list[float]) -> None:
        self.seconds: dict[str, float] = {}
        self.earlier = earlier

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time what happens inside."""
        stopping.at(stage)
        start, known = time.perf_counter(), len(self.earlier)
        yield
        self.seconds[stage] = round(time.perf_counter() - start + sum(self.earlier[known:]), 2)


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
