"""Text and label text, read together."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from lrsl import core
from lrsl.embedding.apart import check_tokens
from lrsl.nn.kept import Kept
from lrsl.nn.optimisation import adamw, trainable
from lrsl.nn.pretrained import adjust, load_tokenizer, loading, longest_input, quiet
from lrsl.nn.progress import Progress
from lrsl.nn.trust import check_runs_nothing
from lrsl.reranking.saving import under
from lrsl.reranking.view import FittedCandidateView, Given, View
from lrsl.reranking.view.examples import Examples

PAIRS_AT_ONCE = 128
_FILE = re.compile(r"[\w-]+\.(json|txt|model)")  # a configuration's or tokenizer's, in no other folder


@dataclass(frozen=True)
class CrossEncoder(View):
    """Log-probabilities of the candidate labels from a network that reads a text and a candidate's text jointly.

    The network has one output per pair and is trained with a softmax over the candidates of each training row. Its
    weights must be safetensors. Training rows whose true label is not among their candidates learn with it in place of
    the last.

    Args:
        pretrained: hub id or local folder of an encoder or a cross-encoder.
        k: number of candidates of a training row, where there are no out-of-fold ones: the true label, and the labels
            whose texts lie nearest in the embedding's space.
        epochs: passes over the training rows.
        lr: peak learning rate.
        batch_size: training rows per step, each with all its candidates.
        max_length: longest pair in tokens; the longer part is cut first.
        with_example: whether a candidate's text is followed by the label's nearest training text.
        seed: of the order of the rows, the dropout and the output layer.

    Raises:
        ValueError: k, epochs, lr, batch_size or max_length is out of range.
    """

    pretrained: str
    k: int = 3
    epochs: int = 3
    lr: float = 5e-5
    batch_size: int = 16
    max_length: int = 128
    with_example: bool = False
    seed: int = 0

    scores_candidates = True
    cost = "a pass of the cross-encoder per candidate, and one of the text embedding where there are examples"

    def __post_init__(self) -> None:
        """Check the settings."""
        least = {"k": 2, "epochs": 1, "batch_size": 1, "max_length": 8}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {value}")
        if not self.lr > 0:
            raise ValueError(f"lr is {self.lr}; it must be above 0")

    def fit(self, given: Given) -> FittedCrossEncoder:
        """Train the network on the training rows.

        Raises:
            ValueError: there are no training rows, or their candidates do not fit them.
            RuntimeError: there is no embedding, which examples and candidates that are not given take.
            InputError: `pretrained` is neither a folder with safetensors nor reachable, or its tokenizer gives two
                label texts the same tokens.
        """
        labels = given.training_labels
        candidates = self._candidates(given, labels)
        examples = Examples.of(given) if self.with_example else None
        near = None if examples is None else examples.nearest_of_training(candidates)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            tokenizer = load_tokenizer(self.pretrained, "view.pretrained")
            check_tokens(tokenizer, given.label_texts, f"view.pretrained={self.pretrained}")
            network = _load(self.pretrained)
            max_length = longest_input(tokenizer, network, self.max_length)
            made = FittedCrossEncoder(network, tokenizer, list(given.label_texts), max_length, examples)
            kept = None if given.kept is None else given.kept()
            self._train(made, made.pairs(given.texts, candidates, near), (candidates == labels[:, None]).int(), kept)
        return made

    def restore(self, learnt: Mapping[str, Tensor], given: Given) -> FittedCrossEncoder:
        """Return what `fit` returned, without the training rows and without `pretrained`.

        Raises:
            ValueError: a saved file has a name that no configuration or tokenizer has, or names code.
        """
        with TemporaryDirectory() as folder, quiet():
            for name, content in under("file", learnt).items():
                if not _FILE.fullmatch(name):
                    raise ValueError(f"{name!r} is no file of a configuration or tokenizer; fit and save it anew")
                (Path(folder) / name).write_bytes(content.cpu().numpy().tobytes())
            check_runs_nothing(Path(folder), "the saved view CrossEncoder")
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        with torch.random.fork_rng():
            network = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False).float()
        network.load_state_dict(under("weights", learnt))
        network = _ready(network).eval()
        max_length = longest_input(tokenizer, network, self.max_length)
        return FittedCrossEncoder(
            network, tokenizer, list(given.label_texts), max_length, Examples.restored(learnt, given)
        )

    def _candidates(self, given: Given, labels: Tensor) -> Tensor:
        """Return the candidates `(n, k)` of the training rows, the true label among them."""
        if given.candidates is None:
            similarity = core.label_similarity(given.encode(given.texts), given.encode(given.label_texts))
            others = similarity.scatter(1, labels[:, None], -torch.inf)
            nearest = others.topk(min(self.k, len(given.label_texts)) - 1, dim=-1).indices
            return torch.cat([labels[:, None], nearest], dim=1)
        candidates = given.candidates().cpu().long()
        if candidates.ndim != 2 or len(candidates) != len(labels) or candidates.shape[1] < 2:
            raise ValueError(
                f"the candidates of {len(labels)} training rows have shape {tuple(candidates.shape)}; "
                f"it must be ({len(labels)}, k), with k of at least 2"
            )
        missed = ~(candidates == labels[:, None]).any(-1)
        return torch.cat([candidates[:, :-1], candidates[:, -1:].where(~missed[:, None], labels[:, None])], dim=1)

    def _train(
        self,
        made: FittedCrossEncoder,
        pairs: Sequence[Sequence[tuple[str, str]]],
        is_true: Tensor,
        kept: Kept | None = None,
    ) -> None:
        network = made.network.train()
        steps = self.epochs * -(-len(pairs) // self.batch_size)
        groups = [{"params": trainable(network.parameters()), "lr": self.lr}]
        optimizer, schedule = adamw(groups, weight_decay=0.01, steps=steps, warmup=0.1)
        parts = {"network": network, "optimizer": optimizer, "schedule": schedule}
        progress = Progress(kept, self.epochs, len(pairs), self.batch_size, parts)
        for batch in progress.batches():
            scores = made.outputs([pair for row in batch.tolist() for pair in pairs[row]])
            true = is_true[batch].argmax(-1).to(scores.device)
            loss = F.cross_entropy(scores.view(len(batch), -1), true)
            if loss.isnan():
                raise ValueError(
                    f"training the cross-encoder diverged, for its loss is no number any more; lower lr={self.lr:g}"
                )
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        network.eval()


@dataclass(frozen=True, eq=False)
class FittedCrossEncoder(FittedCandidateView):
    """A network with one output for a pair of texts.

    Attributes:
        network: the network, in evaluation mode.
        tokenizer: its tokenizer.
        label_texts: the text of each label.
        max_length: longest pair in tokens.
        examples: the training texts among which examples are looked for; None without examples.
    """

    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    label_texts: Sequence[str]
    max_length: int
    examples: Examples | None

    def __call__(self, texts: Sequence[str], candidates: Tensor) -> Tensor:
        """Return the log-probabilities `(n, k)` of the candidates `(n, k)`, among these."""
        if not texts:
            return torch.zeros(candidates.shape)
        candidates = candidates.cpu()
        near = None if self.examples is None else self.examples.nearest(texts, candidates)
        pairs = [pair for of_text in self.pairs(texts, candidates, near) for pair in of_text]
        by_length = sorted(range(len(pairs)), key=lambda i: sum(map(len, pairs[i])))
        with torch.inference_mode():
            outputs = [
                self.outputs([pairs[i] for i in by_length[start : start + PAIRS_AT_ONCE]]).cpu()
                for start in range(0, len(pairs), PAIRS_AT_ONCE)
            ]
        scores = torch.cat(outputs)[torch.tensor(by_length).argsort()]
        return scores.view(candidates.shape).log_softmax(-1)

    def pairs(
        self, texts: Sequence[str], candidates: Tensor, near: Sequence[Sequence[str]] | None
    ) -> list[list[tuple[str, str]]]:
        """Return for n texts what is read together with each of the candidates `(n, k)`.

        Args:
            texts: n texts.
            candidates: the labels `(n, k)`.
            near: an example of each candidate, if there are examples.
        """
        read_with = [[self.label_texts[label] for label in row] for row in candidates.tolist()]
        if near is not None:
            read_with = [
                [f"{label}: {example}" if example else label for label, example in zip(labels, examples, strict=True)]
                for labels, examples in zip(read_with, near, strict=True)
            ]
        return [[(text, other) for other in others] for text, others in zip(texts, read_with, strict=True)]

    def outputs(self, pairs: Sequence[tuple[str, str]]) -> Tensor:
        """Return the network's output for each pair, `(pairs,)`."""
        tokens = self.tokenizer(
            [first for first, _ in pairs],
            [second for _, second in pairs],
            truncation="longest_first",
            max_length=self.max_length,
            padding=True,
            return_tensors="pt",
        )
        logits: Tensor = self.network(**tokens.to(self.network.device)).logits
        return logits.float().squeeze(-1)

    def learnt(self) -> Mapping[str, Tensor]:
        """Return the weights, and the files of configuration and tokenizer as bytes."""
        learnt = {f"weights.{name}": value.detach().cpu().clone() for name, value in self.network.state_dict().items()}
        with TemporaryDirectory() as folder:
            self.network.config.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
            for file in sorted(Path(folder).iterdir()):
                if _FILE.fullmatch(file.name):
                    content = bytearray(file.read_bytes())
                    learnt[f"file.{file.name}"] = torch.frombuffer(content, dtype=torch.uint8)
        return learnt | ({} if self.examples is None else self.examples.learnt())


def _load(pretrained: str) -> PreTrainedModel:
    with loading(pretrained, "view.pretrained") as path, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
            path,
            num_labels=1,
            ignore_mismatched_sizes=True,
            dtype="float32",
            use_safetensors=True,
            trust_remote_code=False,
        )
    return _ready(network)


def _ready(network: PreTrainedModel) -> PreTrainedModel:
    adjust(network, None, None, "view")
    network.to("cuda" if torch.cuda.is_available() else "cpu")  # type: ignore[arg-type]
    return network
