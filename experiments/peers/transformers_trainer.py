"""Fine-tuning with transformers' `Trainer`, as its documentation shows it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset, disable_progress_bars
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    EvalPrediction,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

from experiments.peers.task import Answers, Task, timed
from lrsl.nn.pretrained import locate, longest_input, quiet
from lrsl.training.trainer import device, precision


def measure(task: Task) -> Mapping[str, Answers]:
    """Train on train, keep the best epoch on val, and answer test.

    Epochs, batch size, learning rate, warm-up, weight decay, longest input and precision are those of a run; all else
    is as the library has it, one learning rate for encoder and head among it.
    """
    disable_progress_bars()
    with tempfile.TemporaryDirectory() as scratch, quiet():
        trainer, train_seconds = timed(lambda: trained(task, scratch))
        found, predict_seconds = timed(lambda: answered(trainer, task))
    return {"transformers_trainer": Answers(found, train_seconds, predict_seconds)}


def trained(task: Task, folder: str) -> Trainer:
    """Return a trainer whose network is that of the best epoch."""
    recipe, path = task.recipe, locate(task.encoder)
    set_seed(task.seed)
    network = AutoModelForSequenceClassification.from_pretrained(
        path, num_labels=len(task.names), trust_remote_code=False
    )
    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    arguments = TrainingArguments(
        output_dir=folder,
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=recipe.batch_size,
        learning_rate=recipe.lr,
        weight_decay=recipe.weight_decay,
        warmup_steps=recipe.warmup,
        seed=task.seed,
        use_cpu=device(task.hardware) == "cpu",
        bf16=precision(task.hardware).startswith("bf16"),
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        save_only_model=True,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = Trainer(
        model=network,
        args=arguments,
        train_dataset=rows(task, network, tokenizer, task.train.texts, task.train.labels),
        eval_dataset=rows(task, network, tokenizer, task.val.texts, task.val.labels),
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
        compute_metrics=accuracy,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return trainer


def answered(trainer: Trainer, task: Task) -> list[int]:
    """Return the label of each text of test."""
    logits: Any = trainer.predict(rows(task, trainer.model, trainer.processing_class, task.texts)).predictions
    found: list[int] = logits.argmax(-1).tolist()
    return found


def rows(
    task: Task, network: Any, tokenizer: Any, texts: Sequence[str], labels: Sequence[int] | None = None
) -> Dataset:
    """Return tokens, and labels where there are any, as a data set of the library."""
    longest = longest_input(tokenizer, network, task.recipe.max_length)
    encoded = tokenizer(list(texts), truncation=True, max_length=longest)
    return Dataset.from_dict({**encoded, **({} if labels is None else {"labels": list(labels)})})


def accuracy(found: EvalPrediction) -> dict[str, float]:
    """Return the share of rows whose largest logit is that of their label."""
    logits: Any = found.predictions
    return {"accuracy": float(np.mean(logits.argmax(-1) == found.label_ids))}
