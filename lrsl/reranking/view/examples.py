"""The training text that lies nearest to a text, for each of its candidate labels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lrsl.reranking.folds import first_alike
from lrsl.reranking.view import Encode, Given


@dataclass(frozen=True, eq=False)
class Examples:
    """Training texts by label, and where they lie.

    Attributes:
        encode: embeds texts.
        texts: the training texts.
        labels: their labels, `(rows,)`.
        vectors: their embeddings, `(rows, d)`, of unit length.
    """

    encode: Encode
    texts: Sequence[str]
    labels: Tensor
    vectors: Tensor

    @classmethod
    def of(cls, given: Given) -> Examples:
        """Embed the training texts.

        Raises:
            ValueError: there are no training rows.
            RuntimeError: there is no embedding.
        """
        return cls(given.encode, list(given.texts), given.training_labels, given.encode(given.texts))

    @classmethod
    def restored(cls, learnt: Mapping[str, Tensor], given: Given) -> Examples | None:
        """Return the examples that are among what a view has learnt, if there are any."""
        if "examples.texts" not in learnt:
            return None
        texts = json.loads(read(learnt["examples.texts"]))
        return cls(given.encode, texts, learnt["examples.labels"], learnt["examples.vectors"])

    def nearest(self, texts: Sequence[str], candidates: Tensor) -> list[list[str]]:
        """Return for n texts the nearest training text of each candidate `(n, k)`, empty where a label has none."""
        return self._nearest(self.encode(texts), candidates)

    def nearest_of_training(self, candidates: Tensor) -> list[list[str]]:
        """Return the same for all training rows, none of which is its own example, nor one with its text."""
        return self._nearest(self.vectors, candidates, leave_out=True)

    def _nearest(self, vectors: Tensor, candidates: Tensor, leave_out: bool = False) -> list[list[str]]:
        found = [[""] * candidates.shape[1] for _ in range(len(candidates))]
        alike = first_alike(self.texts) if leave_out else torch.empty(0)
        for label in candidates.unique().tolist():
            of_label = (self.labels == label).nonzero().flatten()
            asked, columns = (candidates == label).nonzero(as_tuple=True)
            if not len(of_label):
                continue
            cosines = vectors[asked] @ self.vectors[of_label].T
            if leave_out:
                cosines.masked_fill_(alike[asked][:, None] == alike[of_label], -torch.inf)
            best, at = cosines.max(-1)
            for row, column, cosine, i in zip(
                asked.tolist(), columns.tolist(), best.tolist(), of_label[at].tolist(), strict=True
            ):
                found[row][column] = self.texts[i] if cosine > -torch.inf else ""
        return found

    def learnt(self) -> dict[str, Tensor]:
        """Return texts, labels and embeddings, by names that begin with `examples`."""
        texts = written(json.dumps(list(self.texts)))
        return {"examples.texts": texts, "examples.labels": self.labels, "examples.vectors": self.vectors}


def written(text: str) -> Tensor:
    """Return a text as a tensor of bytes, which can be saved as what was learnt."""
    return torch.frombuffer(bytearray(text.encode("utf-8", "surrogatepass")), dtype=torch.uint8)


def read(tensor: Tensor) -> str:
    """Return the text that `written` was given."""
    return tensor.cpu().numpy().tobytes().decode("utf-8", "surrogatepass")
