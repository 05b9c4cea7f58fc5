"""AutoIntent: a search over classifiers on frozen embeddings, by its preset, in an environment of its own.

It wants sentence-transformers below 4 and transformers below 5, so it cannot share ours: AUTOINTENT_PYTHON names the
Python of an environment that has it.

    python -m venv ai && ai/bin/pip install 'autointent[sentence-transformers]' 'transformers<5'
    AUTOINTENT_PYTHON=ai/bin/python python -m experiments.peers dataset=banking77 peers=autointent out=FOLDER
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.peers.task import AbsentError, Answers, Task
from lrsl.data.corpus import Split
from lrsl.errors import InputError
from lrsl.nn.pretrained import locate
from lrsl.training.trainer import device

VARIABLE = "AUTOINTENT_PYTHON"
PRESET = "classic-light"
"""The preset that the library's documentation begins with; its encoder is ours."""
ALONE = Path(__file__).with_name("autointent_alone.py")


def measure(task: Task) -> Mapping[str, Answers]:
    """Train on train, let val choose, and answer test; what it does not answer counts as wrong.

    It can train what is chosen on val, too, only where it splits train itself.

    Raises:
        AbsentError: there is no such environment.
        InputError: it has failed.
    """
    python = interpreter()
    given = {
        "preset": PRESET,
        "encoder": str(locate(task.encoder)),
        "device": device(task.hardware),
        "max_length": task.recipe.max_length,
        "seed": task.seed,
        "train": rows(task.train),
        "validation": rows(task.val),
        "texts": task.texts,
    }
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "answers.json"
        words = [python, "-I", str(ALONE), str(file)]
        done = subprocess.run(words, input=json.dumps(given), text=True, capture_output=True, check=False)
        if done.returncode != 0:
            raise InputError(f"AutoIntent has failed: {' '.join(done.stderr.split()[-60:]) or done.returncode}")
        told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    versions = told.pop("versions")
    own = {"autointent": f"{versions.pop('autointent')} ({', '.join(f'{name} {of}' for name, of in versions.items())})"}
    return {"autointent": Answers(**told, versions=own)}


def interpreter() -> str:
    """Return the Python that has the library.

    Raises:
        AbsentError: none is named, or it has none.
    """
    python = os.environ.get(VARIABLE)
    if not python:
        raise AbsentError(
            f"not installed: it needs an environment of its own, with autointent[sentence-transformers] and "
            f"transformers<5; {VARIABLE} names its Python"
        )
    try:
        found = subprocess.run([python, "-I", "-c", "import autointent"], capture_output=True, check=False)
    except OSError as error:
        raise AbsentError(f"{VARIABLE}={python} cannot be run: {error.strerror}") from error
    if found.returncode != 0:
        raise AbsentError(f"{VARIABLE}={python} cannot import autointent")
    return python


def rows(split: Split) -> list[dict[str, Any]]:
    """Return rows as the library takes them."""
    return [{"utterance": text, "label": int(label)} for text, label in zip(split.texts, split.labels, strict=True)]
