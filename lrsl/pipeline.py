"""A run from beginning to end: classifier → confused labels → embedding → test.

One direction, one function per stage. Each stage seeds itself, so that what one does never changes another.
"""

from __future__ import annotations

import ctypes
import gc
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from sentence_transformers import SentenceTransformer
from torch import Tensor

from lrsl import core, metrics, results
from lrsl.config import Config, EmbeddingConfig, ModelConfig
from lrsl.data import Corpus, load_corpus
from lrsl.data.leaderboard import write_leaderboard
from lrsl.errors import InputError
from lrsl.models.batches import Batch, Samples, loader
from lrsl.models.build import build_network
from lrsl.models.hard_sample_reranking import HardSampleReranking, Reranked
from lrsl.models.label_ranking import LabelRanking
from lrsl.models.pretrained import adjust
from lrsl.models.text_embedding import load_embedding, save_embedding
from lrsl.models.view import View
from lrsl.tracking import Tracker
from lrsl.training.callback import RerankingCallback
from lrsl.training.classifier import Classifier
from lrsl.training.embedding import EmbeddingTrainer
from lrsl.training.trainer import build_trainer, precision

PACKAGES = ("lrsl", "torch", "transformers", "sentence-transformers", "pytorch-lightning")


def run(config: Config, folder: Path) -> dict[str, Any]:
    """Train, rerank and measure; write results.json and predictions.jsonl into `folder` and return the results.

    Args:
        config: the run.
        folder: where everything the run leaves behind goes.

    Raises:
        InputError: something the user gave is wrong.
    """
    corpus = load_corpus(config.dataset, config.data_dir)
    check(config, corpus)
    reranking = HardSampleReranking(
        component("detector", config.reranker.detector, k=config.reranker.k), config.reranker.power
    )
    view: View = component("view", config.reranker.view)
    # the second model is loaded before the first is trained: if it cannot be had, nothing is lost
    embedding = load_embedding(
        config.embedding.pretrained,
        pooling=config.embedding.pooling,
        max_length=config.embedding.max_length,
        key="embedding.pretrained",
    )
    if embedding.transformers_model is not None:
        adjust(embedding.transformers_model, config.embedding.encoder_dropout, config.embedding.attention, "embedding")
    watch = Stopwatch()
    with Tracker(config, folder) as tracker:
        job = Job(config, corpus, folder, tracker)
        with watch("classifier"), enough_memory("classifier", "model", config.model):
            classifier = train_classifier(job, reranking)
        with watch("confused labels"):
            confused = mine_confused_labels(job, classifier)
        with watch("embedding"), enough_memory("embedding", "embedding", config.embedding):
            embedding = finetune_embedding(job, embedding, confused)
        with watch("test"):
            reranking.view = view.fit(embedding, corpus.label_texts, corpus.train.texts, corpus.train.labels)
            tested = test(classifier)
            classifier.module.network.export(folder / "classifier")  # the best epoch, which the test has loaded
        with watch("similarity"):
            measured = measure(job, classifier, tested)
        measured.results["seconds"] = watch.seconds
        if corpus.unlabelled is not None and config.dataset.leaderboard is not None:
            logits = classifier.logits("unlabelled")
            predicted = reranking.rerank(logits, corpus.unlabelled.texts).scores.argmax(-1)
            write_leaderboard(folder / config.dataset.leaderboard, corpus, predicted.tolist())
        results.write(folder, measured.results, measured.predictions)
        tracker.summary(summary_metrics(measured.results))
        tracker.table("hard_samples", *hard_sample_table(measured.predictions))
    results.show(measured.results)
    return measured.results


def finished(config: Config, folder: Path) -> dict[str, Any] | None:
    """Return the results in `folder` if they are of a finished run on the same data with the same code, else None."""
    found = results.read(folder)
    if found is None or found.get("status") != "finished" or found.get("versions", {}).get("lrsl") != version("lrsl"):
        return None
    same = found.get("data") == load_corpus(config.dataset, config.data_dir).fingerprint()
    return found if same else None


def show(found: dict[str, Any]) -> None:
    """Print the table of a run's results."""
    results.show(found)


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


def component(seam: str, settings: dict[str, Any], **given: Any) -> Any:
    """Return the configured detector or view.

    Raises:
        InputError: its `_target_` is missing or cannot be made with what stands beside it.
    """
    if "_target_" not in settings:
        raise InputError(f"reranker.{seam} names no class; choose one with reranker/{seam}=NAME, or set its _target_")
    try:
        return instantiate(settings, **given)
    except InstantiationException as error:
        reason = " ".join(str(error).split())
        raise InputError(f"reranker.{seam} cannot be made: {reason}") from None


@dataclass
class Job:
    """What every stage needs to know: the run, its data, where it leaves things, and where it logs."""

    config: Config
    corpus: Corpus
    folder: Path
    tracker: Tracker


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


@dataclass
class TrainedClassifier:
    """A classifier at its best epoch.

    Attributes:
        module: its LightningModule.
        trainer: the trainer that trained it.
        callback: holds the threshold of the best epoch after a test.
        checkpoint: the best epoch.
        samples: the splits by name, as the network takes them.
    """

    module: Classifier
    trainer: pl.Trainer
    callback: RerankingCallback
    checkpoint: str
    samples: dict[str, Samples]

    def logits(self, split: str) -> Tensor:
        """Return the logits `(n, classes)` of a split, in its order."""
        batches = self.trainer.predict(
            self.module, loader(self.samples[split]), ckpt_path=self.checkpoint, weights_only=True
        )
        parts = cast(list[Batch], batches)
        index = torch.cat([part["index"] for part in parts])
        return torch.cat([part["logits"] for part in parts])[index.argsort()]


def train_classifier(job: Job, reranking: HardSampleReranking) -> TrainedClassifier:
    """Train the classifier; its best epoch is the one with the highest validation accuracy."""
    config, corpus = job.config, job.corpus
    pl.seed_everything(config.seed, workers=True, verbose=False)
    model = config.model
    network = build_network(model, corpus)
    module = Classifier(network, model, len(corpus.labels))
    callback = RerankingCallback(reranking, corpus.test.texts)
    samples = {"train": network.samples(corpus.train), "val": network.samples(corpus.val)}
    samples["test"] = network.samples(corpus.test)
    if corpus.unlabelled is not None:
        samples["unlabelled"] = network.samples(corpus.unlabelled)
    trainer = build_trainer(
        config.trainer,
        "classifier",
        job.folder / "classifier",
        epochs=model.epochs,
        monitor="val/acc",
        patience=model.patience,
        logger=job.tracker.logger,
        callbacks=[callback],
    )
    trainer.fit(module, loader(samples["train"], model.batch_size, seed=config.seed), loader(samples["val"]))
    return TrainedClassifier(module, trainer, callback, best_checkpoint(trainer), samples)


def best_checkpoint(trainer: pl.Trainer) -> str:
    """Return the path of the best epoch."""
    assert trainer.checkpoint_callback is not None
    return str(cast(Any, trainer.checkpoint_callback).best_model_path)


def mine_confused_labels(job: Job, classifier: TrainedClassifier) -> Tensor | None:
    """Return the labels the classifier confuses each training sample with, when the embedding learns from them."""
    config, corpus = job.config, job.corpus
    if not config.embedding.finetune or config.embedding.negatives != "confused":
        return None
    k = min(config.embedding.k, len(corpus.labels) - 1)
    return core.confused_labels(classifier.logits("train"), torch.tensor(corpus.train.labels), k)


def finetune_embedding(job: Job, embedding: SentenceTransformer, confused: Tensor | None) -> SentenceTransformer:
    """Fine-tune the text embedding and save it as a sentence-transformers folder; off the shelf unless `finetune`.

    Its best epoch is the one in which the nearest label is most often the right one on validation.
    """
    config, corpus, folder = job.config, job.corpus, job.folder / "embedding"
    pl.seed_everything(config.seed, workers=True, verbose=False)
    settings = config.embedding
    trainer = build_trainer(
        config.trainer,
        "embedding",
        folder,
        epochs=settings.epochs,
        monitor="embedding/val_acc",
        patience=settings.patience,
        logger=job.tracker.logger,
    )
    if settings.finetune:
        ranking = LabelRanking(embedding, corpus.label_texts, settings, confused)
        module = EmbeddingTrainer(ranking)
        train = loader(ranking.samples(corpus.train), settings.batch_size, seed=config.seed)
        trainer.fit(module, train, loader(ranking.samples(corpus.val)))
        best = torch.load(best_checkpoint(trainer), weights_only=True, map_location="cpu")
        module.load_state_dict(best["state_dict"])
        shutil.rmtree(folder)
        save_embedding(embedding, folder)
    return embedding.to(trainer.strategy.root_device).eval()


def test(classifier: TrainedClassifier) -> tuple[Tensor, Reranked]:
    """Test the best epoch; return the logits of the test split and what reranking made of its hard samples."""
    samples = loader(classifier.samples["test"])
    classifier.trainer.test(
        classifier.module, samples, ckpt_path=classifier.checkpoint, weights_only=True, verbose=False
    )
    callback = classifier.callback
    assert callback.test_logits is not None
    assert callback.reranked is not None
    return callback.test_logits, callback.reranked


@dataclass
class Measured:
    """The results of a run and its predictions, ready to be written."""

    results: dict[str, Any]
    predictions: list[dict[str, Any]]


def measure(job: Job, classifier: TrainedClassifier, tested: tuple[Tensor, Reranked]) -> Measured:
    """Return accuracies on test and validation, and one line per test sample.

    Reranking looked at the hard samples alone. To report how the similarity does by itself (Tables 4 and 5) the easy
    ones are embedded here too, after the fact.
    """
    config, corpus = job.config, job.corpus
    (logits, reranked), reranking = tested, classifier.callback.reranking
    assert reranking.view is not None
    labels, hard = np.array(corpus.test.labels), reranked.hard.numpy()
    easy_rows = (~reranked.hard).nonzero().flatten().tolist()
    similarity = torch.zeros(logits.shape, dtype=reranked.similarity.dtype)
    similarity[reranked.hard] = reranked.similarity
    similarity[~reranked.hard] = reranking.view([corpus.test.texts[row] for row in easy_rows])
    if_hard = core.rerank(logits, similarity, config.reranker.power)
    predicted = {
        "origin": logits.argmax(-1).numpy(),
        "rerank": reranked.scores.argmax(-1).numpy(),
        "similarity": similarity.argmax(-1).numpy(),
    }
    probabilities = logits.softmax(-1).numpy()
    outcome: dict[str, Any] = {
        "status": "finished",
        "dataset": corpus.name,
        "model": config.model.name,
        "embedding": config.embedding.name if config.embedding.finetune else f"{config.embedding.name} off the shelf",
        "seed": config.seed,
        "k": config.reranker.k,
        "power": config.reranker.power,
        "classes": len(corpus.labels),
        "n_train": len(corpus.train),
        "n_val": len(corpus.val),
        "n_test": len(corpus.test),
        "n_hard": int(hard.sum()),
        "sigma2_mis": reranking.threshold,
        "hard_fraction": float(hard.mean()),
        **{name: results.accuracies(prediction, labels, hard) for name, prediction in predicted.items()},
        "significance": results.significance(predicted["origin"], predicted["rerank"], labels),
        "calibration_error": metrics.expected_calibration_error(probabilities, labels),
        "validation": on_validation(corpus, classifier),
        "precision": precision(config.trainer),
        "data": corpus.fingerprint(),
        "versions": {name: version(name) for name in PACKAGES},
    }
    before = results.top_k(logits.numpy(), corpus.labels, config.reranker.k)
    after = results.top_k(reranked.scores.numpy(), corpus.labels, config.reranker.k)
    hardness = reranking.detector(logits).tolist()
    lines = [
        {
            "id": corpus.test.ids[row],
            "text": corpus.test.texts[row],
            "gold": corpus.labels[labels[row]],
            **{name: corpus.labels[prediction[row]] for name, prediction in predicted.items()},
            "hard": bool(hard[row]),
            "hardness": hardness[row],
            "rerank_if_hard": corpus.labels[int(if_hard[row].argmax())],
            "top_k_before": before[row],
            "top_k_after": after[row],
        }
        for row in range(len(labels))
    ]
    return Measured(outcome, lines)


def on_validation(corpus: Corpus, classifier: TrainedClassifier) -> dict[str, Any]:
    """Return accuracies on the validation split, which is what options may be chosen by."""
    reranking = classifier.callback.reranking
    assert reranking.view is not None
    logits = classifier.logits("val")
    labels = np.array(corpus.val.labels)
    reranked = reranking.rerank(logits, corpus.val.texts)
    hard = reranked.hard.numpy()
    similarity = reranking.view(corpus.val.texts)
    predicted = {"origin": logits, "rerank": reranked.scores, "similarity": similarity}
    accuracies = {
        name: results.accuracies(scores.argmax(-1).numpy(), labels, hard) for name, scores in predicted.items()
    }
    return {"hard_fraction": float(hard.mean()), **accuracies}


def summary_metrics(outcome: dict[str, Any]) -> dict[str, float]:
    """Return the metrics by which runs are compared, under the same names everywhere."""
    shown = {"val/sigma2_mis": outcome["sigma2_mis"], "test/hard_fraction": outcome["hard_fraction"]}
    for system in ("origin", "rerank", "similarity"):
        for name, value in outcome[system].items():
            if value is not None:
                shown[f"test/{system}_{name.replace('accuracy', 'acc')}"] = value
    shown["test/gain"] = outcome["significance"]["gain"]
    shown["test/p_value"] = outcome["significance"]["p_value"]
    return shown


def hard_sample_table(predictions: list[dict[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Return the columns and rows of the hard samples before and after reranking."""
    columns = ["id", "text", "gold", "origin", "rerank", "hardness", "top_k_before", "top_k_after"]
    rows = [[_cell(line[column]) for column in columns] for line in predictions if line["hard"]]
    return columns, rows


def _cell(value: Any) -> Any:
    return "; ".join(f"{label} {score:.4g}" for label, score in value) if isinstance(value, list) else value


def release() -> None:
    """Give back what a run held, so that memory does not grow over a sweep."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with suppress(AttributeError, OSError, TypeError):  # glibc keeps what was freed until told; others lack the call
        ctypes.CDLL(None).malloc_trim(0)
