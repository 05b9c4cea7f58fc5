"""What is served: a saved reranker, or a finished run's classifier with its reranker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrsl.errors import InputError
from lrsl.nn.onnx import TORCH
from lrsl.paths import is_file
from lrsl.plugin.answers import Answer, Explanation
from lrsl.plugin.function import RerankedFunction
from lrsl.plugin.reranker import Reranker
from lrsl.plugin.saving import CONFIG

RESULTS = "results.json"
"""What the folder of a finished run holds."""


@dataclass(frozen=True)
class Served:
    """A reranker, and the classifier where it is there too.

    Attributes:
        name: what it is called.
        reranker: the reranker, fitted.
        classifier: gives logits for texts, and has the same reranker; None where clients bring logits.
    """

    name: str
    reranker: Reranker
    classifier: RerankedFunction | None = None

    @classmethod
    def whole(cls, name: str, classifier: RerankedFunction) -> Served:
        """Return what serves a classifier together with its reranker."""
        return cls(name, classifier.reranker, classifier)

    @property
    def names(self) -> list[str]:
        """What the classes are called, in the order of the logits' columns."""
        return self.reranker.names or self.reranker.label_texts

    def answers(self, texts: Sequence[str], logits: NDArray[np.float64] | None, k: int | None) -> list[Answer]:
        """Return the answer to each text; without logits the classifier is asked for them."""
        return self.reranker.answers(self._logits(texts, logits), texts, k)

    def explanations(
        self, texts: Sequence[str], logits: NDArray[np.float64] | None, k: int | None
    ) -> list[Explanation]:
        """Return why each text has its answer; without logits the classifier is asked for them."""
        return self.reranker.explain(self._logits(texts, logits), texts, k)

    def _logits(self, texts: Sequence[str], logits: NDArray[np.float64] | None) -> NDArray[Any]:
        if logits is not None:
            return logits
        if self.classifier is None:
            raise ValueError("there is no classifier that gives logits; send them with the texts")
        return self.classifier.logits(texts)


def load(folder: Path, backend: str = TORCH) -> Served:
    """Return what a folder holds, loaded: a reranker that `lrsl fit` has saved, or a finished run.

    Args:
        folder: the folder.
        backend: what computes the embedding, as for `Reranker.from_pretrained`; a run's classifier is left to torch.

    Raises:
        ValueError: it holds neither, or what it holds is damaged.
        InputError: the backend is not installed.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name one that lrsl fit has saved, or a finished run's")
    name = folder.resolve().name
    if is_file(folder / CONFIG):
        return Served(name, Reranker.from_pretrained(folder, backend=backend))
    if is_file(folder / RESULTS):
        from lrsl.run.reopened import reopen  # noqa: PLC0415  (transformers; a saved reranker needs less)

        return Served.whole(name, reopen(folder, backend=backend))
    raise InputError(
        f"{folder} holds neither a reranker ({CONFIG}, saved by lrsl fit) nor a finished run ({RESULTS}); name a "
        "folder with one of them"
    )
