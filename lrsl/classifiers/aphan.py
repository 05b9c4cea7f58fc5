"""AP-HAN, the adjacency-pair-aware hierarchical attention network (Xu et al., 2022), as far as it can be rebuilt.

A reconstruction: neither its full text nor its code is public. Known are the idea, a dialogue rebuilt as a sequence of
adjacency pairs (utterances of agent and customer, matched) whose features go into a hierarchical attention network, and
what the authors' later code keeps of it: up to 25 turns, 100 to 160 tokens per joined pair, a bidirectional LSTM of
width 300, dropout 0.1. The hierarchy is that of Yang et al. (2016): attention over words, a recurrent layer, attention
over the units above. All else was chosen here, so figures from here are not those of the published model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence
from torch.utils.data import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lrsl.classifiers.encoder import MLPHead
from lrsl.classifiers.network import Network
from lrsl.config.schema import ModelConfig
from lrsl.data.corpus import Split, Turn
from lrsl.nn.batches import Batch, Text, Tokenize, pad, tokenize
from lrsl.nn.pretrained import longest_input

TOKENS_PER_CALL = 4096
"""Most tokens, padding included, that the encoder sees at once: pairs of one batch differ much in length."""

_SENTENCE_END = re.compile(
    r"""[.!?…]+["'”’)\]]*(?=\s)      # Latin: a mark and a space, so that 3.5 stays whole
      | [!?;…]+(?=[\u3400-\u9fff])   # the same marks between Chinese characters
      | [。！？；…]+[”’」』）]*       # Chinese: no space follows
      | \n""",
    re.VERBOSE,
)


def sentences(text: str) -> list[str]:
    """Return the sentences of a text by Latin and Chinese punctuation; a line's end is also a sentence's."""
    parts = _SENTENCE_END.sub(lambda end: f"{end[0]}\n", text).split("\n")
    return [part.strip() for part in parts if part.strip()]


def utterances(turns: Sequence[Turn]) -> list[str]:
    """Return what is said in turn, consecutive turns of one speaker joined.

    Turns stay as they are where it is not known who speaks, or where only one does.
    """
    if len({turn.speaker for turn in turns} - {""}) < 2:
        return [turn.text for turn in turns]
    runs = [(speaker, [turn.text for turn in run]) for speaker, run in groupby(turns, lambda turn: turn.speaker)]
    return [text for speaker, texts in runs for text in ([" ".join(texts)] if speaker else texts)]


def units_of(split: Split) -> Iterator[list[str]]:
    """Yield what pairs up, of each sample: what is said in turn, or sentences where there are no turns."""
    yield from map(sentences, split.texts) if split.turns is None else map(utterances, split.turns)


def tells_parts_apart(encoder: nn.Module, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Tell whether an encoder knows the parts of a pair by their token types."""
    config: Any = encoder.config
    kinds = getattr(config, "type_vocab_size", 0) or 0
    return kinds > 1 and "token_type_ids" in tokenizer.model_input_names


def adjacency_pairs(units: Sequence[str], max_pairs: int) -> list[Text]:
    """Return the units two by two, in order; what is left over at the end is a half-pair."""
    return [tuple(units[i : i + 2]) for i in range(0, min(len(units), 2 * max_pairs), 2)]


class PairDataset(Dataset[dict[str, Any]]):
    """The pairs of each sample as token ids, and the labels; tokenised once.

    Args:
        tokenizer: joins two texts as its network knows them, `[CLS] … [SEP] … [SEP]`.
        pairs: the pairs of each of n samples.
        labels: their labels.
        max_length: longest pair in tokens; the longer part is cut first.
        token_types: whether the network tells the parts of a pair apart by token types.
        tokenize: how the tokenizer is asked.

    Attributes:
        cut: of each sample, whether one of its pairs is longer.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        pairs: Sequence[Sequence[Text]],
        labels: Sequence[int],
        max_length: int,
        *,
        token_types: bool,
        tokenize: Tokenize = tokenize,
    ) -> None:
        self.labels = list(labels)
        self.pad_token_id = int(tokenizer.pad_token_id or 0)
        flat = [pair for sample in pairs for pair in sample]
        encoded = iter(tokenize(tokenizer, flat, max_length, token_types=token_types))
        self.pairs = [[next(encoded) for _ in sample] for sample in pairs]
        self.cut = [any(pair.cut for pair in sample) for sample in self.pairs]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"pairs": self.pairs[row], "label": self.labels[row], "index": row}

    def collate(self, samples: list[dict[str, Any]]) -> Batch:
        """Return the batch of n samples.

        It holds `label`, `index` and `pairs`, the number of pairs of each sample, `(n,)`; and for all pairs of all
        samples, one below the other, `input_ids`, `attention_mask` and perhaps `token_type_ids`, `(pairs, tokens)`.
        """
        flat = [pair for sample in samples for pair in sample["pairs"]]
        batch = pad([pair["input_ids"] for pair in flat], self.pad_token_id)
        if "token_type_ids" in flat[0]:
            batch["token_type_ids"] = pad([pair["token_type_ids"] for pair in flat], 0)["input_ids"]
        batch["pairs"] = torch.tensor([len(sample["pairs"]) for sample in samples])
        for key in ("label", "index"):
            batch[key] = torch.tensor([sample[key] for sample in samples])
        return batch

    def lengths(self) -> list[int]:
        """Return the number of tokens in all pairs of each sample."""
        return [sum(len(pair["input_ids"]) for pair in pairs) for pairs in self.pairs]


class Attention(nn.Module):
    """The attention of Yang et al. (2016): a weight for each state by how well it fits a learnt context vector.

    The context starts at zero, so that training starts from the mean.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, width)
        self.context = nn.Parameter(torch.zeros(width))

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return the weighted sums `(n, d)` of states `(n, length, d)` where the mask `(n, length)` is not 0."""
        fit = torch.tanh(self.hidden(states)) @ self.context
        weight = fit.masked_fill(mask == 0, -torch.inf).softmax(dim=-1)
        return (weight.unsqueeze(-1) * states).sum(1)


class PairAttention(nn.Module):
    """All of AP-HAN above the encoder: attention over words, LSTM over pairs, attention over pairs, classifier.

    Args:
        width: of the encoder's states.
        classes: number of labels.
        settings: width of the LSTM and of the classifier's hidden layer, dropout.
    """

    def __init__(self, width: int, classes: int, settings: ModelConfig) -> None:
        super().__init__()
        hidden = settings.aphan.lstm_hidden
        self.words = Attention(width)
        self.dropout = nn.Dropout(settings.dropout)
        self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
        self.pairs = Attention(width + 2 * hidden)
        self.classifier = MLPHead(width + 2 * hidden, classes, hidden=settings.head_hidden, dropout=settings.dropout)

    def forward(self, vectors: Tensor, counts: Tensor) -> Tensor:
        """Return logits `(n, classes)` for the vectors `(pairs, d)` of all pairs and how many each sample has, `(n,)`.

        A pair's own vector stands beside its LSTM state: what it says is not lost while the LSTM is still untrained.
        """
        packed = pack_sequence(list(self.dropout(vectors).split(counts.tolist())), enforce_sorted=False)
        after, _ = self.lstm(packed)
        states = torch.cat([_padded(packed), _padded(after)], dim=-1)
        mask = torch.arange(states.shape[1], device=counts.device) < counts.unsqueeze(1)
        logits: Tensor = self.classifier(self.pairs(states, mask))
        return logits


def _padded(packed: Any) -> Tensor:
    padded: Tensor = pad_packed_sequence(packed, batch_first=True)[0]
    return padded


class AdjacencyPairNetwork(Network):
    """An encoder for each pair of a dialogue, and hierarchical attention over words and pairs.

    The turns of a dialogue pair up in order, after consecutive turns of one speaker are joined. A text without turns is
    split into sentences, which pair up likewise.

    Args:
        encoder: a transformer whose output has `last_hidden_state`.
        tokenizer: its tokenizer.
        classes: number of labels.
        settings: longest pair, most pairs, width of the LSTM, dropout.
    """

    head: PairAttention

    def __init__(
        self, encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, classes: int, settings: ModelConfig
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.max_pairs = settings.aphan.pairs
        self.max_length = longest_input(tokenizer, encoder, settings.max_length)
        self.token_types = tells_parts_apart(encoder, tokenizer)
        self.head = PairAttention(encoder.config.hidden_size, classes, settings)

    def samples(self, split: Split) -> PairDataset:
        """Return the token ids of the pairs of each sample."""
        pairs = [adjacency_pairs(of_sample, self.max_pairs) for of_sample in units_of(split)]
        return PairDataset(
            self.tokenizer,
            pairs,
            split.labels,
            self.max_length,
            token_types=self.token_types,
            tokenize=self.tokenize,
        )

    def forward(self, batch: Batch) -> Tensor:
        """Return logits `(n, classes)` in float32 for a batch of `PairDataset`."""
        vectors = self.pair_vectors(batch)
        with torch.autocast(vectors.device.type, enabled=False):  # as for every head
            return self.head(vectors, batch["pairs"])  # type: ignore[no-any-return]

    def pair_vectors(self, batch: Batch) -> Tensor:
        """Return what word-level attention makes of each pair, `(pairs, d)`, float32, in the batch's order.

        The pairs of the whole batch are encoded together, shortest first, in as few calls as `TOKENS_PER_CALL` allows.
        """
        lengths, order = batch["attention_mask"].sum(1).sort(stable=True)
        vectors = []
        for rows, width in _calls(order, lengths.tolist()):
            keys = ("input_ids", "attention_mask", "token_type_ids")
            inputs = {key: batch[key][rows, :width] for key in keys if key in batch}
            states = self.encoder(**inputs).last_hidden_state
            with torch.autocast(states.device.type, enabled=False):
                vectors.append(self.head.words(states.float(), inputs["attention_mask"]))
        return torch.cat(vectors)[order.argsort()]


def _calls(order: Tensor, lengths: list[int]) -> Iterator[tuple[Tensor, int]]:
    """Yield rows to encode in one call, and the longest of them; `lengths` are those of `order`, ascending."""
    start = 0
    for end, length in enumerate(lengths, start=1):
        following = lengths[end] if end < len(lengths) else None
        if following is None or (end + 1 - start) * following > TOKENS_PER_CALL:
            yield order[start:end], length
            start = end
