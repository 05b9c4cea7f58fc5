"""Fine-tuning the classifier: ours against transformers' Trainer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytorch_lightning as pl
import torch
from datasets import Dataset
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)

from experiments.benchmarks.bare import bare, batches, classifier_module
from experiments.benchmarks.plan import SEED, Figure, Plan, Section, Table, quotients
from experiments.benchmarks.profiles import profile_steps
from experiments.benchmarks.turns import LightningSteps, Step, TransformersSteps, in_turns
from experiments.benchmarks.workload import Workload, absent, workload
from lrsl.nn.batches import Batch, Samples, TokenDataset, loader
from lrsl.nn.pretrained import load_tokenizer, locate, longest_input, quiet
from lrsl.training.trainer import build_trainer

ABOUT = """\
Training steps alone, without validation and saving on either side, by the recipe of the data set. The peer is
transformers' `Trainer` on `AutoModelForSequenceClassification` and `DataCollatorWithPadding`, at its defaults
(float32 and the dropout of the pretrained network among them) except batch size, epochs, learning rate and seed. It
has one learning rate, which is that of our encoder; our head has one of its own."""


def measure(plan: Plan) -> Section:
    """Return how many times as fast we train, and both accuracies, on short questions and on long calls."""
    figures: list[Figure] = []
    tables: list[Table] = []
    for dataset, rows, least in (("banking77", plan.questions, 3.0), ("telecom34", plan.calls, 2.0)):
        name = f"classifier on {dataset}: transformers' Trainer over ours"
        if (reason := absent(dataset)) is not None:
            figures.append(Figure(name, note=reason))
            continue
        work = workload(dataset, rows, plan.held_out)
        model = replace(work.config.model, epochs=plan.epochs or work.config.model.epochs)
        work = replace(work, config=replace(work.config, model=model))
        figures += compared(name, work, least, plan)
        if plan.profile:
            tables += profile_steps(f"classifier, {dataset}", bare(classifier_module(work), work))
    return Section(ABOUT, figures, tables)


def compared(name: str, work: Workload, least: float, plan: Plan) -> list[Figure]:
    """Train ours, the peer, and the peer in bfloat16, in turns."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        done = in_turns(
            {
                "ours": lambda step: ours(work, folder, step),
                "peer": lambda step: peer(work, folder, step),
                "peer in bfloat16": lambda step: peer(work, folder, step, bf16=True),
            },
            plan.block,
            plan.now,
        )
    accuracies = ", ".join(f"{name} {timed.value:.2%}" for name, timed in done.items())
    note = f"{len(work.corpus.val):,} validation rows: {accuracies}"
    seconds = {name: timed.seconds for name, timed in done.items()}
    return [
        Figure(name, quotients(seconds["peer"], seconds["ours"]), at_least=least, note=note),
        Figure(f"{name}, the peer in bfloat16 too", quotients(seconds["peer in bfloat16"], seconds["ours"])),
    ]


def ours(work: Workload, folder: Path, step: Step) -> float:
    """Train as the stage of a run does; return the accuracy on validation."""
    config = work.config
    module = classifier_module(work)
    trainer = build_trainer(
        config.trainer, "classifier", folder, epochs=config.model.epochs, callbacks=[LightningSteps(step)]
    )
    trainer.fit(module, batches(module, work))
    return accuracy(module.eval(), module.network.samples(work.corpus.val))


def peer(work: Workload, folder: Path, step: Step, *, bf16: bool = False) -> float:
    """Train as transformers' documentation shows it; return the accuracy on validation."""
    corpus, settings = work.corpus, work.config.model
    pl.seed_everything(SEED, workers=True, verbose=False)
    with quiet():
        network = AutoModelForSequenceClassification.from_pretrained(
            locate(settings.pretrained), num_labels=len(corpus.labels), trust_remote_code=False
        )
    tokenizer = load_tokenizer(settings.pretrained)
    longest = longest_input(tokenizer, network, settings.max_length)
    encoded = tokenizer(corpus.train.texts, truncation=True, max_length=longest)
    arguments = TrainingArguments(
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
    trainer = Trainer(
        model=network,
        args=arguments,
        train_dataset=Dataset.from_dict({**encoded, "labels": corpus.train.labels}),
        data_collator=DataCollatorWithPadding(tokenizer),
        callbacks=[TransformersSteps(step)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    network.eval()

    def logits(batch: Batch) -> Tensor:
        made: Tensor = network(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        return made

    return accuracy(logits, TokenDataset(tokenizer, corpus.val.texts, corpus.val.labels, longest))


def accuracy(logits: Callable[[Batch], Tensor], samples: Samples) -> float:
    """Return the share of samples whose largest logit is that of their label."""
    with torch.inference_mode():
        right = [(logits(batch).argmax(-1) == batch["label"]) for batch in loader(samples)]
    return torch.cat(right).double().mean().item()
