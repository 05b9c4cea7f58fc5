"""Fine-tuning the embedding: ours against sentence-transformers' own trainer."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import Tensor
from transformers import PrinterCallback

from experiments.benchmarks.bare import bare, batches, embedding_module
from experiments.benchmarks.plan import SEED, Figure, Plan, Section, quotients
from experiments.benchmarks.profiles import profile_steps
from experiments.benchmarks.turns import LightningSteps, Step, TransformersSteps, in_turns
from experiments.benchmarks.workload import Workload, absent, workload
from lrsl import core
from lrsl.data import Corpus
from lrsl.embedding.text_embedding import encode, load_embedding
from lrsl.training.trainer import build_trainer

ABOUT = """\
Training steps alone, without validation and saving on either side. Every text comes with its own label's text and
those of 3 hard negatives, the wrong labels that are nearest to it off the shelf. The peer is
`SentenceTransformerTrainer` with `MultipleNegativesRankingLoss` on the columns `anchor`, `positive`, `negative_1` to
`negative_3`: its default arguments (float32 among them) except batch size, epochs, learning rate and seed. Its loss
takes all labels of the batch as negatives, 64 × (1 + 3) of them, which are nearly all labels there are; our default,
`negatives=all`, takes them all. Ours with `negatives=confused` uses the triplets as they are and nothing else."""
NEGATIVES = 3


def measure(plan: Plan) -> Section:
    """Return how many times as fast we train, and both accuracies."""
    name = "embedding on Banking-77: sentence-transformers' trainer over ours"
    if (reason := absent("banking77")) is not None:
        return Section(ABOUT, [Figure(name, note=reason)])
    work = workload("banking77", plan.texts, plan.held_out)
    embedding = replace(work.config.embedding, epochs=plan.epochs or work.config.embedding.epochs)
    work = replace(work, config=replace(work.config, embedding=embedding))
    confused = hard_negatives(work)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        done = in_turns(
            {
                "ours": lambda step: ours(work, confused, "all", folder, step),
                "ours, confused": lambda step: ours(work, confused, "confused", folder, step),
                "peer": lambda step: peer(work, confused, folder, step),
                "peer in bfloat16": lambda step: peer(work, confused, folder, step, bf16=True),
            },
            plan.block,
            plan.now,
        )
    accuracies = ", ".join(f"{name} {timed.value:.2%}" for name, timed in done.items())
    note = f"similarity alone on {len(work.corpus.val):,} validation rows: {accuracies}"
    peer_seconds, bf16_seconds = done["peer"].seconds, done["peer in bfloat16"].seconds
    figures = [
        Figure(f"{name} (`all`)", quotients(peer_seconds, done["ours"].seconds), at_least=3, note=note),
        Figure(f"{name} (`confused`)", quotients(peer_seconds, done["ours, confused"].seconds), at_least=3),
        Figure(f"{name} (`all`), the peer in bfloat16 too", quotients(bf16_seconds, done["ours"].seconds)),
    ]
    tables = profile_steps("embedding, Banking-77", bare(embedding_module(work), work)) if plan.profile else []
    return Section(ABOUT, figures, tables)


def hard_negatives(work: Workload) -> Tensor:
    """Return the wrong labels `(n, 3)` that are nearest to each training text off the shelf."""
    corpus = work.corpus
    embedding = load_embedding(work.config.embedding.pretrained)
    similarity = core.label_similarity(encode(embedding, corpus.train.texts), encode(embedding, corpus.label_texts))
    return core.confused_labels(similarity, torch.tensor(corpus.train.labels), NEGATIVES)


def ours(work: Workload, confused: Tensor, negatives: str, folder: Path, step: Step) -> float:
    """Train as the stage of a run does; return the accuracy on validation."""
    config = replace(work.config, embedding=replace(work.config.embedding, negatives=negatives))
    work = replace(work, config=config)
    module = embedding_module(work, confused)
    epochs = config.embedding.epochs
    trainer = build_trainer(config.trainer, "embedding", folder, epochs=epochs, callbacks=[LightningSteps(step)])
    trainer.fit(module, batches(module, work))
    return accuracy(module.ranking.embedding, work.corpus)


def peer(work: Workload, confused: Tensor, folder: Path, step: Step, *, bf16: bool = False) -> float:
    """Train as sentence-transformers' documentation shows it; return the accuracy on validation."""
    corpus, settings = work.corpus, work.config.embedding
    embedding = load_embedding(settings.pretrained, max_length=settings.max_length)
    columns = {f"negative_{i + 1}": confused[:, i].tolist() for i in range(confused.shape[1])}
    label_columns = {"positive": corpus.train.labels, **columns}
    triplets = Dataset.from_dict(
        {"anchor": corpus.train.texts}
        | {name: [corpus.label_texts[label] for label in labels] for name, labels in label_columns.items()}
    )
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder / "peer"),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.lr,
        seed=SEED,
        bf16=bf16,
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = SentenceTransformerTrainer(
        model=embedding,
        args=arguments,
        train_dataset=triplets,
        loss=MultipleNegativesRankingLoss(embedding),
        callbacks=[TransformersSteps(step)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return accuracy(embedding, corpus)


def accuracy(embedding: SentenceTransformer, corpus: Corpus) -> float:
    """Return the share of validation texts whose nearest label is their own."""
    embedding.eval()
    similarity = core.label_similarity(encode(embedding, corpus.val.texts), encode(embedding, corpus.label_texts))
    return (similarity.argmax(-1) == torch.tensor(corpus.val.labels)).double().mean().item()
