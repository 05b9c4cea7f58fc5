"""From texts to padded batches of about equal length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import PreTrainedTokenizerBase

from lrsl.nn import processes

Batch = dict[str, Tensor]

EVALUATION_BATCH = 128
NOT_COUNTED = -1
"""The label by which metrics know a row that is not to be counted."""
_noted: ContextVar[tuple[dict[tuple[str, ...], int], ...]] = ContextVar("_noted", default=())
WINDOW = 32  # batches among which texts are sorted by length: enough to save padding, few enough to stay random


class Samples(Protocol):
    """The samples of a split as a network takes them.

    Attributes:
        labels: of each.
    """

    labels: list[int]

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> Any:
        """Return one sample."""

    def collate(self, samples: list[Any]) -> Batch:
        """Return a batch; `label` and `index`, the row in the split, `(n,)`, are always in it."""
        ...

    def lengths(self) -> list[int]:
        """Return what each sample costs, in tokens."""
        ...


Text = tuple[str, ...]
"""A text, or the two texts of a pair."""


class Tokens(dict[str, list[int]]):
    """What a network is given for one text: `input_ids` and perhaps `token_type_ids`.

    Attributes:
        cut: whether the text is longer than that.
    """

    cut: bool = False


class Tokenize(Protocol):
    """Turns texts into token ids; `tokenize`, or something that remembers what it returned."""

    def __call__(
        self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[Text], max_length: int, *, token_types: bool = False
    ) -> list[Tokens]:
        """Return the tokens of each text."""
        ...


def tokenize(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[Text], max_length: int, *, token_types: bool = False
) -> list[Tokens]:
    """Return the tokens of each text or pair, special tokens included, at most `max_length` of them.

    A pair is joined as its network knows it, `[CLS] … [SEP] … [SEP]`, and its longer part is cut first.
    """
    tokens = [Tokens() for _ in texts]
    for size in (1, 2):
        rows = [row for row, text in enumerate(texts) if len(text) == size]
        if rows:
            encoded = tokenizer(
                *([texts[row][part] for row in rows] for part in range(size)),
                truncation="longest_first",
                max_length=max_length,
                return_attention_mask=False,
                return_token_type_ids=token_types,
                verbose=False,
            )
            for i, row in enumerate(rows):
                tokens[row].update({key: values[i] for key, values in encoded.items()})
                if encoded.is_fast:
                    tokens[row].cut = bool(encoded.encodings[i].overflowing)
                elif len(tokens[row]["input_ids"]) >= max_length:  # a tokenizer in Python does not tell
                    whole = tokenizer(*texts[row], return_attention_mask=False, verbose=False)["input_ids"]
                    tokens[row].cut = len(whole) > max_length
    note_what_is_cut({text: max_length for text, of_text in zip(texts, tokens, strict=True) if of_text.cut})
    return tokens


@contextmanager
def noting_what_is_cut() -> Iterator[dict[Text, int]]:
    """Give what will hold the texts that are tokenised inside and cut, with the number of tokens that are left.

    Inside another one both hold them.
    """
    noted: dict[Text, int] = {}
    token = _noted.set((*_noted.get(), noted))
    try:
        yield noted
    finally:
        _noted.reset(token)


@contextmanager
def noting_nothing() -> Iterator[None]:
    """Let nothing be noted of what is tokenised inside, where it is nobody's text but a trial of the tokenizer."""
    token = _noted.set(())
    try:
        yield
    finally:
        _noted.reset(token)


def note_what_is_cut(texts: Mapping[Text, int]) -> None:
    """Note texts that are cut, with the number of tokens that are left, wherever `noting_what_is_cut` asks for them."""
    for noted in _noted.get():
        noted.update(texts)


class TokenDataset(Dataset[dict[str, list[int]]]):
    """Token ids with their labels.

    Args:
        tokenizer: turns texts into ids.
        texts: n texts.
        labels: their labels.
        max_length: longest input in tokens; the rest is cut off.
        tokenize: how the tokenizer is asked.

    Attributes:
        cut: of each text, whether it is longer.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        texts: Sequence[str],
        labels: Sequence[int],
        max_length: int,
        tokenize: Tokenize = tokenize,
    ) -> None:
        tokens = tokenize(tokenizer, [(text,) for text in texts], max_length)
        self.input_ids = [of_text["input_ids"] for of_text in tokens]
        self.cut = [of_text.cut for of_text in tokens]
        self.labels = list(labels)
        self.pad_token_id = int(tokenizer.pad_token_id or 0)

    def __len__(self) -> int:
        return len(self.input_ids)

    def __getitem__(self, row: int) -> dict[str, list[int]]:
        return {"input_ids": self.input_ids[row], "label": [self.labels[row]], "index": [row]}

    def collate(self, samples: list[dict[str, list[int]]]) -> Batch:
        """Return `input_ids` and `attention_mask` `(n, tokens)`, `label` and `index` `(n,)`."""
        batch = pad([sample["input_ids"] for sample in samples], self.pad_token_id)
        for key in ("label", "index"):
            batch[key] = torch.tensor([sample[key][0] for sample in samples])
        return batch

    def lengths(self) -> list[int]:
        """Return the number of tokens of each text."""
        return [len(ids) for ids in self.input_ids]


def padded(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int) -> Batch:
    """Return `input_ids` and `attention_mask`, `(n, tokens)`, of n texts."""
    tokens = TokenDataset(tokenizer, texts, [0] * len(texts), max_length)
    return pad(tokens.input_ids, tokens.pad_token_id)


def pad(input_ids: Sequence[Sequence[int]], pad_token_id: int) -> Batch:
    """Return `input_ids` and `attention_mask`, `(n, tokens)`, padded on the right to the longest of them."""
    longest = max(map(len, input_ids))
    ids = torch.full((len(input_ids), longest), pad_token_id)
    mask = torch.zeros_like(ids)
    for row, tokens in enumerate(input_ids):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
    return {"input_ids": ids, "attention_mask": mask}


class Part(NamedTuple):
    """One process's part of a batch.

    Attributes:
        rows: the rows this process computes; at least one, so that all processes take as many steps.
        share: what this process's mean has to be multiplied by, so that the mean over the processes is the mean over
            the batch: 0 where its rows are another's, which computes them too.
        batch: the rows of the whole batch.
    """

    rows: list[int]
    share: float
    batch: list[int]


class LengthBatchSampler(Sampler[Any]):
    """Batches of rows of about equal length, so that little is padded.

    Training shuffles, sorts within windows of `WINDOW` batches and shuffles the batches; it depends on the seed and on
    how often it was iterated. Evaluation sorts all rows.

    With several processes a batch is a `Part`. In training each process computes a part of each batch, so that a step
    learns from the same rows however many processes there are. In evaluation each computes every n-th batch as one
    process would. All have equally many batches; one that has none left computes one again, whose share is 0.

    Attributes:
        epoch: how often it was iterated in training, by which the next order is drawn.
        skipped: how many batches the next iteration leaves out at its beginning, where a training goes on within an
            epoch.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, *, seed: int | None) -> None:
        self.lengths = torch.tensor(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self.skipped = 0

    def __len__(self) -> int:
        size, _ = processes.count()
        batches = -(-len(self.lengths) // self.batch_size)
        return batches if self.seed is not None else -(-batches // size)

    def __iter__(self) -> Iterator[list[int] | Part]:
        batches = self._batches()
        size, rank = processes.count()
        skipped, self.skipped = self.skipped, 0
        batches = batches[skipped:]
        if size == 1:
            yield from batches
        elif self.seed is not None:
            for batch in batches:
                rows = batch[rank::size]
                yield Part(rows or batch[:1], size * len(rows) / len(batch), batch)
        else:
            for first in range(0, len(batches), size):
                mine = first + rank
                batch = batches[mine] if mine < len(batches) else batches[first]
                yield Part(batch, float(mine < len(batches)), batch)

    def _batches(self) -> list[list[int]]:
        if self.seed is None:
            return self._cut(self.lengths.argsort(stable=True))
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        self.epoch += 1
        order = torch.randperm(len(self.lengths), generator=generator)
        windows = order.split(self.batch_size * WINDOW)
        batches = [
            batch for window in windows for batch in self._cut(window[self.lengths[window].argsort(stable=True)])
        ]
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]

    def _cut(self, rows: Tensor) -> list[list[int]]:
        return [batch.tolist() for batch in rows.split(self.batch_size)]


class Parts(Dataset[Any]):
    """The samples of a split for one of several processes, asked for by `Part`.

    A batch then has besides what it always has `share`, a number, and `together`, the labels of the whole batch.

    Args:
        samples: of the split.
    """

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitems__(self, part: Part) -> Part:
        """Return the part itself, which `collate` makes a batch of."""
        return part

    def collate(self, part: Part) -> Batch:
        """Return a part as a batch."""
        batch = self.samples.collate([self.samples[row] for row in part.rows])
        together = torch.tensor([self.samples.labels[row] for row in part.batch])
        return {**batch, "share": torch.tensor(part.share), "together": together}


def share_of(batch: Batch) -> Tensor | float:
    """Return what this process's mean over a batch has to be multiplied by; 1 where one process computes it all."""
    return batch.get("share", 1.0)


def labels_to_count(batch: Batch) -> Tensor:
    """Return the labels `(n,)` of a batch, `NOT_COUNTED` where another process has the same rows."""
    return batch["label"] if share_of(batch) else torch.full_like(batch["label"], NOT_COUNTED)


def loader(samples: Samples, batch_size: int = EVALUATION_BATCH, *, seed: int | None = None) -> DataLoader[Batch]:
    """Return a loader for training, shuffled by `seed`, or for evaluation when there is none.

    Args:
        samples: of a split.
        batch_size: samples per step, of all processes together.
        seed: shuffles.
    """
    dataset: Any = samples if processes.count()[0] == 1 else Parts(samples)
    return DataLoader(
        dataset,
        batch_sampler=LengthBatchSampler(samples.lengths(), batch_size, seed=seed),
        collate_fn=dataset.collate,
        pin_memory=torch.cuda.is_available(),
    )
