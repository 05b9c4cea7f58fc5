"""SetFit: contrastive fine-tuning of the encoder on pairs of texts, and a logistic regression on its vectors."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from types import ModuleType
from typing import Any

from datasets import Dataset, disable_progress_bars
from sklearn.linear_model import LogisticRegression
from transformers import PrinterCallback, set_seed

from experiments.peers.sentence_transformers_lr import loaded
from experiments.peers.task import AbsentError, Answers, Task, timed
from lrsl.nn.pretrained import quiet

PAIRS = 32_000
"""Pairs of texts that are trained on at most, where a pair of each kind per text is not more than that already; by its
default the library takes all there are: millions, of 3,000 texts."""
ROUNDS = 20
"""Pairs of each of both kinds per text, where these are not too many; as in its paper."""


def measure(task: Task) -> Mapping[str, Answers]:
    """Train on train, and answer test; there is nothing that val could choose.

    Raises:
        AbsentError: the library is not installed, or does not go with the others.
    """
    library = imported()
    with tempfile.TemporaryDirectory() as scratch, quiet():
        model, train_seconds = timed(lambda: trained(library, task, scratch))
        found, predict_seconds = timed(lambda: model.predict(task.texts, show_progress_bar=False))
    return {"setfit": Answers([int(label) for label in found], train_seconds, predict_seconds)}


def imported() -> Any:
    """Return the library.

    Raises:
        AbsentError: there is none, or it cannot be imported beside the transformers that is installed.
    """
    try:
        import setfit  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "setfit":
            raise AbsentError("not installed: pip install --no-deps setfit evaluate") from None
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise AbsentError(f"not installable beside transformers {version('transformers')}: {reason}") from error
    assert isinstance(setfit, ModuleType)
    logging.getLogger("setfit").setLevel(logging.ERROR)
    return setfit


def trained(library: Any, task: Task, folder: str) -> Any:
    """Return the trained model. The head is made here, since the library would unpickle one from a folder."""
    disable_progress_bars()
    set_seed(task.seed)
    model = library.SetFitModel(model_body=loaded(task), model_head=LogisticRegression(max_iter=1000))
    arguments = library.TrainingArguments(
        output_dir=folder,
        num_iterations=max(1, min(ROUNDS, PAIRS // (2 * len(task.train)))),
        seed=task.seed,
        report_to="none",
        logging_strategy="no",
        save_strategy="no",
        show_progress_bar=False,
    )
    rows = Dataset.from_dict({"text": task.train.texts, "label": task.train.labels})
    trainer = library.Trainer(model=model, args=arguments, train_dataset=rows)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return model
