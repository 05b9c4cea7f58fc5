"""A text-classification pipeline of transformers and its reranker, as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from lrsl.errors import InputError
from lrsl.nn.pretrained import positions
from lrsl.plugin.columns import check_names, names_of
from lrsl.plugin.function import RerankedFunction
from lrsl.plugin.reranker import Reranker
from lrsl.reranking.positional import texts_of


class RerankedPipeline(RerankedFunction):
    """A `transformers` text-classification pipeline whose hard texts are reranked.

    It is asked for all logits, as they are (`top_k=None, function_to_apply="none"`), and their order is that of the
    model's `id2label`. Texts longer than the model reads are cut off.

    Args:
        pipeline: the pipeline, of a model with one label per text.
        embedder: as for `Reranker`; or a `Reranker`, such as `Reranker.from_pretrained` loads, whose names are those of
            `id2label`.
        label_texts: what the labels mean: a mapping from the names in `id2label`, or a list in their order; the names,
            with spaces for underscores, unless given.
        settings: as for `Reranker`, such as `rule="fitted"`.

    Raises:
        InputError: the model has one output, two labels of the same name, or the reranker has them in another order.
        ValueError: as for `Reranker`, or a label has no text.

    Example:
        >>> classify = pipeline("text-classification", "my-model")
        >>> reranked = RerankedPipeline(classify, "sentence-transformers/all-MiniLM-L6-v2", rule="fitted")
        >>> reranked.fit(val_texts, val_labels)
        >>> reranked("where is my card?")
        [{'label': 'card_arrival', 'score': 0.83}]
    """

    def __init__(
        self,
        pipeline: Any,
        embedder: Reranker | SentenceTransformer | str | Path | None,
        label_texts: Mapping[str, str] | Iterable[str] | None = None,
        **settings: Any,
    ) -> None:
        names = [str(name) for name in names_of(dict(pipeline.model.config.id2label))]
        if len(names) < 2 or len(set(names)) < len(names):
            raise InputError(f"the model's labels are {', '.join(names)}; it must have two or more, no two alike")
        self.pipeline = pipeline
        if isinstance(embedder, Reranker):
            if label_texts is not None or settings:
                raise ValueError("label_texts and settings have no effect with a reranker, which has its own")
            check_names(names, embedder.names or embedder.label_texts)
            reranker = embedder
        else:
            reranker = Reranker(embedder, _texts(names, label_texts), names=names, **settings)
        known = (positions(pipeline.model), getattr(pipeline.tokenizer, "model_max_length", None))
        self._longest = min((length for length in known if length), default=None)
        self._column = {name: column for column, name in enumerate(names)}
        super().__init__(self._asked, reranker)

    def __call__(self, texts: str | Iterable[str], top_k: int | None = 1) -> Any:
        """Return labels and calibrated probabilities as the pipeline does: the `top_k` likeliest, all with None.

        For a text it is a list of them, for texts a list of lists, as with `top_k` in transformers.
        """
        asked = [texts] if isinstance(texts, str) else texts_of(texts)
        found = self.predict_proba(asked)
        best = np.argsort(-found, axis=1, kind="stable")[:, :top_k]
        rows = [
            [{"label": self.names[column], "score": float(row[column])} for column in columns]
            for row, columns in zip(found, best, strict=True)
        ]
        return rows[0] if isinstance(texts, str) else rows

    def _asked(self, texts: list[str]) -> NDArray[Any]:
        found = self.pipeline(texts, top_k=None, function_to_apply="none", truncation=True, max_length=self._longest)
        values = np.full((len(texts), len(self._column)), np.nan)
        for row, scores in enumerate(found):
            for score in scores:
                values[row, self._column[str(score["label"])]] = score["score"]
        return values


def _texts(names: list[str], given: Mapping[str, str] | Iterable[str] | None) -> list[str]:
    if isinstance(given, Mapping):
        missing = [name for name in names if name not in given]
        if missing:
            raise ValueError(f"label_texts have none for the label {missing[0]!r}")
        return [given[name] for name in names]
    if given is not None:
        return list(given)
    return [" ".join(name.replace("_", " ").split()) or name for name in names]
