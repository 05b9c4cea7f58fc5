"""The stages of a run, each made once: classifier, its logits, confused labels, embedding, its similarities.

What a stage makes is kept in the store under all that could change it: the data it sees, its part of the configuration,
the pretrained weights, the seed, precision and device, this package's code and the libraries it is computed with. What
comes later works with what the store gives out, whether it was made just now or by another run.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lrsl import core
from lrsl.classifiers.build import build_network
from lrsl.config.schema import Config, TrainerConfig
from lrsl.data.corpus import Corpus, Split
from lrsl.embedding.label_ranking import LabelRanking
from lrsl.embedding.text_embedding import encode, load_embedding, save_embedding
from lrsl.nn.batches import Text, Tokens, loader, tokenize
from lrsl.nn.pretrained import adjust, fingerprint
from lrsl.reranking.hard_sample_reranking import HardSampleReranking, Reranked
from lrsl.reranking.view import KnownScores, View
from lrsl.run.store import Store, key_of, link
from lrsl.tracking import Tracker
from lrsl.training.callback import RerankingCallback
from lrsl.training.classifier import Classifier
from lrsl.training.embedding import EmbeddingTrainer
from lrsl.training.recorded import RecordedLogits
from lrsl.training.trainer import best_checkpoint, build_trainer, device, precision

LIBRARIES = ("torch", "transformers", "tokenizers", "pytorch-lightning", "sentence-transformers")
LIBRARIES_OF_LLMS = ("peft", "bitsandbytes")
CODE = ("core.py", "nn", "classifiers", "embedding", "reranking", "run/stages.py", "training")
CHECKPOINT = "best.ckpt"
TENSOR = "tensor"
PASSING = ("truncation", "padding")  # what a tokenizer remembers of the last call, and is told anew with the next


@dataclass
class Job:
    """What every stage needs to know: the run, its data, where things are left and logged, what is there already."""

    config: Config
    corpus: Corpus
    folder: Path
    tracker: Tracker
    store: Store

    @property
    def predicted(self) -> list[str]:
        """Names of the splits that are predicted."""
        return ["val", "test"] if self.corpus.unlabelled is None else ["val", "test", "unlabelled"]

    def split(self, name: str) -> Split:
        """Return a split by its name: train, val, test or unlabelled."""
        split = getattr(self.corpus, name)
        assert isinstance(split, Split)
        return split


class TrainedClassifier:
    """A classifier at its best epoch, which is loaded only when it is asked for logits that the store does not have.

    Args:
        job: the run.
        made_of: what the classifier is made of.
        folder: what training has left in the store.
        module: the classifier, where this process has trained it.
    """

    def __init__(self, job: Job, made_of: Mapping[str, Any], folder: Path, module: Classifier | None = None) -> None:
        self.job = job
        self.made_of = made_of
        self.folder = folder
        self._module = module

    @property
    def module(self) -> Classifier:
        """The LightningModule with the weights of the best epoch."""
        if self._module is None:
            self._module = build_classifier(self.job)
            load_best(self._module, self.folder / CHECKPOINT)
        return self._module

    def logits(self, split: str) -> Tensor:
        """Return the logits `(n, classes)` of a split, in its order."""
        samples = self.job.split(split)

        def make(folder: Path) -> None:
            trainer = build_trainer(self.job.config.trainer, f"logits of {split}", folder)
            batches: Any = trainer.predict(self.module, loader(self.module.network.samples(samples)))
            index = torch.cat([batch["index"] for batch in batches])
            save(torch.cat([batch["logits"] for batch in batches])[index.argsort()], folder)

        made_of = {"classifier": key_of(self.made_of), "of": samples.fingerprint()}
        return load(self.job.store.get("logits", made_of, make, about=f"{about(self.job)}, {split}"))


def train_classifier(job: Job, reranking: HardSampleReranking) -> TrainedClassifier:
    """Train the classifier; its best epoch is the one with the highest validation accuracy.

    Args:
        job: the run.
        reranking: learns its threshold on each validation epoch, for the log and the checkpoint.
    """
    config, corpus, model = job.config, job.corpus, job.config.model
    trained: list[Classifier] = []

    def make(folder: Path) -> None:
        # loaded before the classifier is trained: if it cannot be had, nothing is lost
        configured_embedding(job, config.embedding.pretrained)
        module = build_classifier(job)
        network = module.network
        trainer = build_trainer(
            config.trainer,
            "classifier",
            folder,
            epochs=model.epochs,
            monitor="val/acc",
            patience=model.patience,
            logger=job.tracker.logger,
            callbacks=[RerankingCallback(reranking, corpus.test.texts)],
        )
        train = loader(network.samples(corpus.train), model.batch_size, seed=config.seed)
        trainer.fit(module, train, loader(network.samples(corpus.val)))
        load_best(module, Path(best_checkpoint(trainer)))
        network.export(folder)
        trained.append(module)

    settings = {key: value for key, value in asdict(model).items() if key not in ("name", "pretrained")}
    made_of = {
        **conditions(job),
        "seed": config.seed,
        "settings": settings,
        "weights": fingerprint(model.pretrained, "model.pretrained"),
        "data": [corpus.labels, corpus.train.fingerprint(), corpus.val.fingerprint()],
    }
    if model.architecture == "llm":
        made_of["libraries"] |= versions(LIBRARIES_OF_LLMS)
    if model.architecture == "hldic":  # the one network that looks at them
        made_of["label tree"] = [corpus.label_texts, corpus.groups]
    folder = job.store.get("classifier", made_of, make, about=about(job))
    link(folder, job.folder / "classifier")
    return TrainedClassifier(job, made_of, folder, *trained)


def rerank(job: Job, reranking: HardSampleReranking, logits: Mapping[str, Tensor]) -> Reranked:
    """Take the threshold from validation and rerank the hard samples of test, as the callback does in any trainer.

    Args:
        job: the run.
        reranking: gets the threshold; its view knows the test's texts.
        logits: the classifier's on val and test.
    """
    callback = RerankingCallback(reranking, job.corpus.test.texts)
    settings = TrainerConfig(accelerator="cpu", precision="32-true", progress=False)
    trainer = build_trainer(settings, "test", job.folder, logger=job.tracker.logger, callbacks=[callback])
    recorded = RecordedLogits()
    trainer.validate(recorded, recorded.loader(logits["val"], job.corpus.val.labels), verbose=False)
    trainer.test(recorded, recorded.loader(logits["test"], job.corpus.test.labels), verbose=False)
    assert callback.reranked is not None
    return callback.reranked


def build_classifier(job: Job) -> Classifier:
    """Return an untrained classifier, its head drawn by the run's seed."""
    pl.seed_everything(job.config.seed, workers=True, verbose=False)
    network = build_network(job.config.model, job.corpus, device(job.config.trainer))
    network.tokenize = StoredTokens(job)
    return Classifier(network, job.config.model, len(job.corpus.labels))


class StoredTokens:
    """Tokenises what the store does not hold yet."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(
        self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[Text], max_length: int, *, token_types: bool = False
    ) -> list[Tokens]:
        """Return the tokens of each text."""
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None or not texts:  # a tokenizer in Python does not say what it is made of
            return tokenize(tokenizer, texts, max_length, token_types=token_types)

        def make(folder: Path) -> None:
            tokens = tokenize(tokenizer, texts, max_length, token_types=token_types)
            tensors = {
                key: torch.tensor(list(chain.from_iterable(of[key] for of in tokens)), dtype=torch.int32)
                for key in tokens[0]
            }
            tensors["lengths"] = torch.tensor([len(of_text["input_ids"]) for of_text in tokens])
            save_file(tensors, folder / f"{TENSOR}.safetensors")

        settings = {key: value for key, value in json.loads(backend.to_str()).items() if key not in PASSING}
        made_of = {
            "tokenizer": key_of(settings),
            "library": versions(["tokenizers", "transformers"]),
            "max_length": max_length,
            "token_types": token_types,
            "texts": key_of({"texts": texts}),
        }
        folder = self.job.store.get("tokens", made_of, make, about=f"{self.job.corpus.name}, {len(texts):,} texts")
        tensors = load_file(folder / f"{TENSOR}.safetensors")
        lengths = tensors.pop("lengths").tolist()
        parts = {key: [ids.tolist() for ids in tensor.split(lengths)] for key, tensor in tensors.items()}
        return [dict(zip(parts, of_text, strict=True)) for of_text in zip(*parts.values(), strict=True)]


def load_best(module: pl.LightningModule, checkpoint: Path) -> None:
    """Load the weights of a checkpoint."""
    saved = torch.load(checkpoint, weights_only=True, map_location="cpu")
    module.on_load_checkpoint(saved)
    module.load_state_dict(saved["state_dict"], strict=module.strict_loading)


def mine_confused_labels(job: Job, classifier: TrainedClassifier) -> Tensor | None:
    """Return the labels the classifier confuses each training sample with, when the embedding learns from them."""
    config, corpus = job.config, job.corpus
    if not config.embedding.finetune or config.embedding.negatives != "confused":
        return None
    k = min(config.embedding.k, len(corpus.labels) - 1)
    return core.confused_labels(classifier.logits("train"), torch.tensor(corpus.train.labels), k)


class TextEmbedding:
    """The text embedding of a run, which is loaded only when a text has to be encoded.

    Args:
        job: the run.
        made_of: what the embedding is made of.
        pretrained: the folder fine-tuning has left in the store, or the embedding off the shelf.
    """

    def __init__(self, job: Job, made_of: Mapping[str, Any], pretrained: str) -> None:
        self.job = job
        self.made_of = made_of
        self.pretrained = pretrained
        self._fitted: View | None = None

    @functools.cached_property
    def model(self) -> SentenceTransformer:
        """The sentence-transformers model, in evaluation mode on the trainer's device."""
        trainer = build_trainer(self.job.config.trainer, "embedding", self.job.folder)
        return configured_embedding(self.job, self.pretrained).to(trainer.strategy.root_device).eval()

    def similarity(self, view: View, split: str) -> KnownScores:
        """Return what a view makes of each text of a split."""
        corpus, samples = self.job.corpus, self.job.split(split)

        def make(folder: Path) -> None:
            if self._fitted is None:
                self._fitted = view.fit(self.model, corpus.label_texts, corpus.train.texts, corpus.train.labels)
            save(self._fitted(samples.texts), folder)

        made_of = {
            "embedding": key_of(self.made_of),
            "view": [self.job.config.reranker.view, source(view)],
            "data": [corpus.label_texts, corpus.train.fingerprint()],
            "of": samples.fingerprint(),
        }
        found = self.job.store.get("similarity", made_of, make, about=f"{about(self.job)}, {split}")
        return KnownScores(samples.texts, load(found))

    def label_similarity(self) -> Tensor:
        """Return the cosine similarities of all labels with each other, `(classes, classes)`."""
        texts = self.job.corpus.label_texts

        def make(folder: Path) -> None:
            vectors = encode(self.model, texts)
            save(core.label_similarity(vectors, vectors), folder)

        made_of = {"embedding": key_of(self.made_of), "labels": texts}
        return load(self.job.store.get("labels", made_of, make, about=about(self.job)))


def embedding_off_the_shelf(job: Job) -> TextEmbedding:
    """Return the text embedding as it was pretrained."""
    settings = job.config.embedding
    made_of = {
        **conditions(job),
        "weights": fingerprint(settings.pretrained, "embedding.pretrained"),
        "settings": {"pooling": settings.pooling, "max_length": settings.max_length, "attention": settings.attention},
    }
    return TextEmbedding(job, made_of, settings.pretrained)


def finetune_embedding(job: Job, confused: Tensor | None) -> TextEmbedding:
    """Fine-tune the text embedding and save it as a sentence-transformers folder; off the shelf unless `finetune`.

    Its best epoch is the one in which the nearest label is most often the right one on validation.
    """
    config, corpus, settings = job.config, job.corpus, job.config.embedding

    def make(folder: Path) -> None:
        pl.seed_everything(config.seed, workers=True, verbose=False)
        embedding = configured_embedding(job, settings.pretrained)
        trainer = build_trainer(
            config.trainer,
            "embedding",
            folder,
            epochs=settings.epochs,
            monitor="embedding/val_acc",
            patience=settings.patience,
            logger=job.tracker.logger,
        )
        ranking = LabelRanking(embedding, corpus.label_texts, settings, confused)
        ranking.tokenize = StoredTokens(job)
        module = EmbeddingTrainer(ranking)
        train = loader(ranking.samples(corpus.train), settings.batch_size, seed=config.seed)
        trainer.fit(module, train, loader(ranking.samples(corpus.val)))
        best = Path(best_checkpoint(trainer))
        load_best(module, best)
        best.unlink()
        save_embedding(embedding, folder)

    if not settings.finetune:
        return embedding_off_the_shelf(job)
    unused = ("name", "pretrained", "finetune", "k")
    made_of = {
        **conditions(job),
        "seed": config.seed,
        "weights": fingerprint(settings.pretrained, "embedding.pretrained"),
        "settings": {key: value for key, value in asdict(settings).items() if key not in unused},
        "confused": None if confused is None else hashlib.sha256(confused.numpy().tobytes()).hexdigest(),
        "data": [corpus.label_texts, corpus.train.fingerprint(), corpus.val.fingerprint()],
    }
    folder = job.store.get("embedding", made_of, make, about=about(job))
    link(folder, job.folder / "embedding")
    return TextEmbedding(job, made_of, str(folder))


def configured_embedding(job: Job, pretrained: str) -> SentenceTransformer:
    """Return a text embedding with what the configuration changes in it."""
    settings = job.config.embedding
    embedding = load_embedding(
        pretrained, pooling=settings.pooling, max_length=settings.max_length, key="embedding.pretrained"
    )
    if embedding.transformers_model is not None:
        adjust(embedding.transformers_model, settings.encoder_dropout, settings.attention, "embedding")
    return embedding


def conditions(job: Job) -> dict[str, Any]:
    """Return what any stage depends on besides its data, its settings and perhaps the seed."""
    trainer = job.config.trainer
    return {
        "precision": precision(trainer),
        "device": device(trainer),
        "devices": trainer.devices,
        "code": code(),
        "libraries": versions(LIBRARIES),
    }


@functools.cache
def code() -> str:
    """Return a hash of the code that stages run."""
    here = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for name in CODE:
        files = sorted((here / name).rglob("*.py")) if (here / name).is_dir() else [here / name]
        for file in files:
            digest.update(f"{file.relative_to(here).as_posix()}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def source(component: object) -> str:
    """Return a hash of the code of a component, which need not be this package's; empty where it has none."""
    try:
        text = inspect.getsource(type(component))
    except (OSError, TypeError):
        return ""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the version of each package."""
    return {package: importlib.metadata.version(package) for package in packages}


def about(job: Job) -> str:
    """Return what a list of the store says of what a run made."""
    return f"{job.corpus.name}, {job.config.model.name}, seed {job.config.seed}"


def save(values: Tensor, folder: Path) -> None:
    """Save a tensor as a stage's result."""
    save_file({TENSOR: values.contiguous()}, folder / f"{TENSOR}.safetensors")


def load(folder: Path) -> Tensor:
    """Load a tensor that is a stage's result."""
    return load_file(folder / f"{TENSOR}.safetensors")[TENSOR]
