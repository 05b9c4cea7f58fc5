"""The schema of a run: every key a user can set, its default, and what is checked before anything is loaded.

A default stands here and nowhere else; the YAML files under `conf/` hold only what differs. `run.py` turns the
composed configuration into these dataclasses once, at the door; the rest of the code sees plain Python objects.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, fields, replace
from typing import Any

from lrsl.errors import InputError, nearest
from lrsl.paths import is_name, leaves, may_be


def _one_of(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"{key}={value} is unknown; use one of {', '.join(known)}{nearest(value, list(known))}")


def _above(key: str, value: float, least: float, *, inclusive: bool = True) -> None:
    if value == math.inf:
        raise InputError(f"{key}={value} is too large; it must be a number")
    if not (value >= least if inclusive else value > least):
        raise InputError(f"{key}={value} is too small; it must be {'at least' if inclusive else 'above'} {least:g}")


def _fraction(key: str, value: float) -> None:
    if not 0 <= value < 1:
        raise InputError(f"{key}={value} is out of range; it must be at least 0 and below 1")


_OF_A_RUN = (
    *("results.json", "predictions.jsonl", "labels.json", "suspect_labels.jsonl", "config.json", "made_of.json"),
    *("stage.json", "runs.jsonl", "truncated.json"),
)
"""Files that a run writes for itself."""


def _given(group: str, name: str, pretrained: str) -> None:
    if not pretrained:
        hint = f"conf/{group}/{name}.yaml may say where to get it"
        raise InputError(f"{group}.pretrained is empty; give a hub id or a local folder ({hint})")


def _path(key: str, value: str | None) -> None:
    if value is not None and not may_be(value):
        raise InputError(f"{key}={value} is no path of a folder; give one that a disk can hold")


@dataclass
class DownloadConfig:
    """A public file: its address and the SHA-256 of its content."""

    url: str = ""
    sha256: str = ""

    def __post_init__(self) -> None:
        """Check that there is an address, and a checksum to hold its content to."""
        if not self.url:
            raise InputError("dataset.download has an entry without url; give the file's public address")
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise InputError(f"dataset.download: {self.url} has no valid sha256; give its 64 hexadecimal digits")


@dataclass
class DatasetConfig:
    """Where the samples are and how to read them."""

    name: str = "custom"
    """The name under which results are reported."""
    reader: str = "table"
    """Which reader returns the corpus: `table` (the files below), `cmcc34` (those, and the raw format of CCL2018),
    `iflytek119` (those, and FewCLUE's files in place of train) or `telecom34` (the embedded one)."""
    train: str | None = None
    """The training samples: a file whose ending (.csv, .tsv, .jsonl, .json, .parquet) says how it is read, or a folder
    that `save_to_disk` of the library `datasets` has written. All but Parquet may be compressed (.csv.gz)."""
    val: str | None = None
    """File of the validation samples; without one, `val_fraction` of train is carved off."""
    test: str | None = None
    """File of the test samples; `carve_test` does without one."""
    unlabelled: str | None = None
    """File of texts without labels, of which predictions are written for a leaderboard; their names are those of a
    column `id`, else their numbers from 0."""
    leaderboard: str | None = None
    """Name of the file of those predictions: JSON lines with `id` and `label`, as CLUE takes them."""
    forms: dict[str, dict[str, str]] = field(default_factory=dict)
    """Forms in which the same data come: values by key of this part, of which `train`, `val` and `test` name files.
    When neither of those three is set, the first form whose files are all there replaces these keys."""
    form: str | None = None
    """Which of `forms` to take, whatever files are there."""
    text: str = "text"
    """Column of the text; with `turns` it may be missing, or be the same column, and the text is then the turns, one
    per line."""
    label: str = "label"
    """Column of the label."""
    label_text: str | None = None
    """Column of the label's readable text, the same for all samples of a label; else the text is the label's name,
    with underscores turned into spaces."""
    label_texts: Any = None
    """Label → readable text: a mapping, or a YAML or JSON file holding one. Labels left out keep the text
    they have without it."""
    quoting: str = "checked"
    """What quotation marks in CSV and TSV mean: with `checked` a field may stand in them, and the run stops where one
    may have swallowed other records; with `trusted` such a field is taken at its word; with `none` marks are characters
    like any other, and every line is a record."""
    empty_text: str = "error"
    """What becomes of a record with an empty text: `error` stops the run, `drop` leaves it out and says how many."""
    group: str | None = None
    """Column of the coarse label, for corpora with two levels of labels."""
    turns: str | None = None
    """Column of the dialogue's turns: a list, or one string cut at `turn_separator`. A turn is a string, which may
    start with `Agent:`, `System:`, `S:`, `Customer:`, `User:` or `U:`, an object with `speaker` and `text`, or a pair
    of both."""
    turn_separator: str = "[SEP]"
    """What stands between two turns when they come as one string."""
    agent: str | None = None
    """How a turn's `speaker` says that it is the agent's, besides `agent`, `system` and `s`."""
    customer: str | None = None
    """How a turn's `speaker` says that it is the customer's, besides `customer`, `user` and `u`."""
    val_fraction: float = 0.2
    """Share of train that becomes validation when no validation file is given."""
    size: str = "small"
    """How much of the embedded telecom34 there is: `small`, brief calls that a laptop trains on in minutes, or `full`,
    longer calls and more of them."""
    carve_test: bool = False
    """Whether, when no test file is given, a `val_fraction` of train becomes test, before validation is carved off."""
    per_class: int | None = None
    """At most so many training samples of each label, and as many for validation, drawn by `split_seed`; None takes
    all there are."""
    split_seed: int | None = 0
    """Seed of these splits; apart from `seed`, so that every run sees the same split. None: each seed draws its own."""
    download: dict[str, DownloadConfig] = field(default_factory=dict)
    """Public address and checksum by file name (as in `train`, `val`, `test`), used when no `data_dir` is given."""
    language: str = "en"
    """Language of the texts (ISO 639-1)."""
    single_sentence: bool = False
    """Whether every text is one sentence, in which `model=aphan` finds no pairs."""
    licence: str = ""
    """Licence of the data."""
    source: str = ""
    """Where the data come from."""

    @property
    def drawn_by(self) -> int:
        """The seed of the splits; 0 for None outside a run, which has no seed to take."""
        return self.split_seed or 0

    def __post_init__(self) -> None:
        """Check what can be checked without opening a file."""
        if not 0 < self.val_fraction < 1:
            raise InputError(f"dataset.val_fraction={self.val_fraction} is out of range; it must be between 0 and 1")
        if self.split_seed is not None:
            _above("dataset.split_seed", self.split_seed, 0)
        if self.per_class is not None:
            _above("dataset.per_class", self.per_class, 1)
        _one_of("dataset.quoting", self.quoting, ("checked", "trusted", "none"))
        _one_of("dataset.empty_text", self.empty_text, ("error", "drop"))
        _one_of("dataset.size", self.size, ("small", "full"))
        if self.size != "small" and self.reader != "telecom34":
            raise InputError(
                f"dataset.size={self.size} has no meaning for {self.name}; only the embedded telecom34 comes in sizes"
            )
        if not self.turn_separator:
            raise InputError("dataset.turn_separator is empty; give what stands between two turns")
        if (self.unlabelled is None) != (self.leaderboard is None):
            raise InputError(
                "dataset.unlabelled and dataset.leaderboard go together: the texts without labels, and the name of the "
                "file of predictions on them; set both or neither"
            )
        self._check_names()
        self._check_forms()

    @property
    def grouped(self) -> bool:
        """Whether the labels come in groups: a column says so, or the reader knows them."""
        return self.group is not None or self.reader == "telecom34"

    def _check_names(self) -> None:
        board = self.leaderboard
        if board is not None and (not is_name(board) or not board.endswith((".json", ".jsonl")) or board in _OF_A_RUN):
            raise InputError(
                f"dataset.leaderboard={board} is no name for that file, which lies in the run's folder; give one that "
                "ends in .json and that no other file there has, such as predict.json"
            )
        for name in self.download:
            if leaves(name):
                raise InputError(
                    f"dataset.download names the file {name}, which would lie outside the folder of what is fetched; "
                    "give a name such as mine/train.csv"
                )

    def _check_forms(self) -> None:
        texts = [key.name for key in fields(self) if key.type in ("str", "str | None")]
        keys = [key for key in texts if key not in ("name", "form")]
        for name, form in self.forms.items():
            for key in form:
                if key not in keys:
                    raise InputError(
                        f"dataset.forms.{name}.{key} is no key of a dataset; a form holds keys such as train, test and "
                        f"label{nearest(key, keys)}"
                    )
        if self.form is not None and self.form not in self.forms:
            known = f"use one of {', '.join(self.forms)}" if self.forms else "this data set has one form only"
            raise InputError(f"dataset.form={self.form} is unknown; {known}{nearest(self.form, list(self.forms))}")


@dataclass
class LoraConfig:
    """The adapters of `llm`, which sit on every linear layer."""

    rank: int = 8
    """Rank of the adapters."""
    alpha: int = 32
    """Scale of the adapters; their output is multiplied by `alpha` / `rank`."""
    dropout: float = 0.1
    """Dropout before the adapters."""

    def __post_init__(self) -> None:
        """Check ranges."""
        _above("model.lora.rank", self.rank, 1)
        _above("model.lora.alpha", self.alpha, 1)
        _fraction("model.lora.dropout", self.dropout)


@dataclass
class AphanConfig:
    """What is `aphan`'s own."""

    pairs: int = 25
    """Pairs of turns or sentences that are read; the rest is cut off."""
    lstm_hidden: int = 300
    """Width of the LSTM over pairs, in each direction."""

    def __post_init__(self) -> None:
        """Check ranges."""
        _above("model.aphan.pairs", self.pairs, 1)
        _above("model.aphan.lstm_hidden", self.lstm_hidden, 1)


@dataclass
class HldicConfig:
    """What is `hldic`'s own."""

    group_loss_weight: float = 0.5
    """Weight of the groups' cross-entropy beside the labels' in the loss."""

    def __post_init__(self) -> None:
        """Check ranges."""
        _above("model.hldic.group_loss_weight", self.group_loss_weight, 0)


@dataclass
class ModelConfig:
    """The classifier: a pretrained encoder, dropout and an MLP head, and how it is trained."""

    name: str = "minilm"
    """The name under which results are reported."""
    architecture: str = "encoder"
    """The network: `encoder`, `aphan` (attention over pairs of turns), `hldic` (attention of two levels of labels) or
    `llm` (a causal language model with LoRA, whose state of the last token is classified)."""
    pretrained: str = "sentence-transformers/all-MiniLM-L6-v2"
    """Hub id or local folder of the encoder."""
    epochs: int = 6
    """Most epochs trained; the learning rate decays to zero over them."""
    batch_size: int = 32
    """Samples per optimiser step."""
    lr: float = 1e-4
    """Peak learning rate of the encoder."""
    head_lr: float = 1e-3
    """Peak learning rate of the head."""
    weight_decay: float = 0.01
    """AdamW's weight decay."""
    warmup: float = 0.1
    """Share of all steps over which the learning rate rises from zero."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    patience: int = 4
    """Epochs without a better validation accuracy after which training stops."""
    dropout: float = 0.1
    """Dropout before the head."""
    encoder_dropout: float | None = None
    """Dropout inside the encoder; null keeps what it was pretrained with."""
    attention: str | None = None
    """How the encoder computes attention, by transformers' names (sdpa, eager, flash_attention_2); null leaves the
    choice to transformers where there is a GPU, and trains fastest where there is none."""
    head_hidden: int = 0
    """Width of the head's hidden layer; 0 for a single linear layer."""
    pooling: str | None = None
    """How `encoder` and `hldic` make one vector of token states: `cls`, which null stands for, or `mean`."""
    max_length: int = 256
    """Longest input in tokens, for `aphan` of each pair; the rest is cut off."""
    language: str | None = None
    """The one language the pretrained weights are for, where they are good for no other (ISO 639-1)."""
    quantize: str = "none"
    """How `llm` holds its frozen weights: `nf4` (4 bits, doubly quantised, computed in bfloat16) or `none`."""
    gradient_checkpointing: bool | None = None
    """Whether `llm` computes activations again on the way back, instead of keeping them; null for where they would
    take more than half of the device's memory."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    aphan: AphanConfig = field(default_factory=AphanConfig)
    hldic: HldicConfig = field(default_factory=HldicConfig)

    def __post_init__(self) -> None:
        """Check ranges, and that no key is given that has no effect on this architecture."""
        _one_of("model.architecture", self.architecture, ("encoder", "aphan", "hldic", "llm"))
        if self.pooling is not None:
            _one_of("model.pooling", self.pooling, ("cls", "mean"))
        for key in ("epochs", "batch_size", "patience"):
            _above(f"model.{key}", getattr(self, key), 1)
        _one_of("model.quantize", self.quantize, ("nf4", "none"))
        if self.quantize != "none" and self.architecture != "llm":
            raise InputError(
                f"model.quantize={self.quantize} is for language models with adapters (model.architecture=llm), and "
                f"model={self.name} is trained whole; leave it at none"
            )
        _above("model.max_length", self.max_length, 3)
        _above("model.head_hidden", self.head_hidden, 0)
        _above("model.weight_decay", self.weight_decay, 0)
        for key in ("lr", "head_lr", "gradient_clip"):
            _above(f"model.{key}", getattr(self, key), 0, inclusive=False)
        for key in ("warmup", "dropout"):
            _fraction(f"model.{key}", getattr(self, key))
        if self.encoder_dropout is not None:
            _fraction("model.encoder_dropout", self.encoder_dropout)
        self._check_that_every_key_has_an_effect()

    def _check_that_every_key_has_an_effect(self) -> None:
        for name, architecture in (("lora", "llm"), ("aphan", "aphan"), ("hldic", "hldic")):
            part: LoraConfig | AphanConfig | HldicConfig = getattr(self, name)
            for setting in fields(part):
                value = getattr(part, setting.name)
                if architecture != self.architecture and value != setting.default:
                    raise self._without_effect(f"{name}.{setting.name}", value, f"model.architecture={architecture}")
        if self.pooling is not None and self.architecture in ("llm", "aphan"):
            raise self._without_effect("pooling", self.pooling, "model.architecture=encoder and hldic")
        if self.gradient_checkpointing is not None and self.architecture != "llm":
            raise self._without_effect(
                "gradient_checkpointing", str(self.gradient_checkpointing).lower(), "model.architecture=llm"
            )
        if self.architecture == "llm":
            for key in ("encoder_dropout", "attention"):
                if getattr(self, key) is not None:
                    raise self._without_effect(key, getattr(self, key), "pretrained encoders")

    def _without_effect(self, key: str, value: object, instead: str) -> InputError:
        return InputError(
            f"model.{key}={value} has no effect on model={self.name} (model.architecture={self.architecture}); it is "
            f"for {instead}, so leave it out"
        )


@dataclass
class EmbeddingConfig:
    """The text embedding that gives the similarity between a text and every label, and how it is fine-tuned."""

    name: str = "minilm"
    """The name under which results are reported."""
    pretrained: str = "sentence-transformers/all-MiniLM-L6-v2"
    """Hub id or local folder of a sentence-transformers model or of any encoder."""
    finetune: bool = True
    """Whether to fine-tune; `false` takes the embedding off the shelf."""
    negatives: str = "all"
    """Labels a text is pushed away from: `confused` (eqs. 2–6, the k labels the classifier confuses the text with),
    `batch` (the other labels in the batch) or `all` labels."""
    k: int = 3
    """Number of confused labels per text; follows `reranker.k` unless set."""
    scale: float = 20.0
    """Factor on the cosine before the softmax; the paper's eq. 6 has none, which is 1."""
    epochs: int = 4
    """Most epochs trained; the epoch with the best similarity accuracy on validation is kept."""
    batch_size: int = 64
    """Texts per optimiser step."""
    lr: float = 2e-4
    """Peak learning rate."""
    weight_decay: float = 0.01
    """AdamW's weight decay."""
    warmup: float = 0.1
    """Share of all steps over which the learning rate rises from zero."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    patience: int = 4
    """Epochs without a better validation accuracy after which training stops."""
    encoder_dropout: float | None = None
    """Dropout inside the encoder; null keeps what it was pretrained with."""
    attention: str | None = None
    """How the encoder computes attention; as `model.attention`."""
    pooling: str | None = None
    """How token states become one vector where `pretrained` does not say so itself: `cls`, or `mean`, which is null."""
    max_length: int = 256
    """Longest input in tokens; the rest is cut off."""

    def __post_init__(self) -> None:
        """Check ranges."""
        _given("embedding", self.name, self.pretrained)
        _one_of("embedding.negatives", self.negatives, ("confused", "batch", "all"))
        if self.pooling is not None:
            _one_of("embedding.pooling", self.pooling, ("cls", "mean"))
        for key in ("epochs", "batch_size", "patience"):
            _above(f"embedding.{key}", getattr(self, key), 1)
        _above("embedding.max_length", self.max_length, 3)
        _above("embedding.weight_decay", self.weight_decay, 0)
        for key in ("scale", "lr", "gradient_clip"):
            _above(f"embedding.{key}", getattr(self, key), 0, inclusive=False)
        _fraction("embedding.warmup", self.warmup)
        if self.encoder_dropout is not None:
            _fraction("embedding.encoder_dropout", self.encoder_dropout)


@dataclass
class RuleConfig:
    """A rule beside the paper's; a part is a component's short name, or a mapping whose `_target_` names a class."""

    detector: Any = "margin"
    """What tells hard samples, such as margin, max_probability, entropy or topk_variance."""
    threshold: Any = "auto"
    """Where hard samples end, such as best_gain or sigma2_mis; `auto` is best_gain, and sigma2_mis where
    nothing is gained, or with another `on_hard` than rerank."""
    views: list[Any] = field(default_factory=lambda: ["label_similarity", "instances", "lexical", "linear_probe"])
    """What scores the labels; with none there is no such rule."""
    fusion: Any = "log_linear"
    """How logits and views become one ranking, such as log_linear or paper."""


@dataclass
class RerankerConfig:
    """How hard samples are found and reranked."""

    k: int = 3
    """Number of largest logits whose variance tells hard samples from easy ones (eq. 7); 2 where there are 2 labels."""
    power: Any = 1.0
    """Exponent on the similarity (eq. 10 has 1), or `auto`, which finds it on the hard validation samples."""
    detector: dict[str, Any] = field(default_factory=dict)
    """The detector: `_target_` names an `lrsl.Detector`, which gives one number per row of logits."""
    threshold: dict[str, Any] = field(default_factory=dict)
    """Where hard samples end: `_target_` names an `lrsl.ThresholdRule`."""
    view: dict[str, Any] = field(default_factory=dict)
    """The view: `_target_` names an `lrsl.View`, which scores texts and labels."""
    fusion: dict[str, Any] = field(default_factory=dict)
    """How logits and view become one ranking: `_target_` names an `lrsl.Fusion`."""
    fitted: RuleConfig = field(default_factory=RuleConfig)
    """The rule that is fitted and reported beside the paper's, from the same logits and embedding."""
    rules: list[Any] = field(default_factory=list)
    """Further rules to report: mappings with a name and any part of `fitted` that is to differ."""
    control: bool = False
    """Whether to train the classifier with the next seed too, and report what it mends in place of the views."""
    folds: int = 0
    """In how many folds training and validation rows are predicted by what has not seen them, so that rules are fitted
    on all of them; classifier and embedding are then trained on all of them too. 0 fits rules on validation alone."""
    deploy: str = "auto"
    """What a user of the run gets: origin, rerank or fitted; auto asks validation, and reranks only where it pays."""
    on_hard: str = "rerank"
    """What becomes of hard samples: `rerank`, as far as that is deployed; `abstain` gives no answer; `set` gives labels
    that hold the true one as often as `coverage` says; `defer` asks elsewhere."""
    coverage: float = 0.9
    """Least share of hard samples whose set is to hold the true label, with `on_hard=set`."""
    defer: dict[str, Any] = field(default_factory=dict)
    """Who is asked with `on_hard=defer`: `url` of a server, with the settings of `lrsl.Endpoint`, or the `_target_` of
    a function or class of yours."""

    def __post_init__(self) -> None:
        """Check ranges, and that no key is given that has no effect on hard samples."""
        if self.k < 2:
            raise InputError(f"reranker.k={self.k} is too small; a variance needs at least 2 logits")
        self._check_on_hard()
        _one_of("reranker.deploy", self.deploy, ("auto", "origin", "rerank", "fitted"))
        if self.folds != 0 and self.folds < 2:
            raise InputError(f"reranker.folds={self.folds} is too small; it must be at least 2, or 0 for none")
        if self.deploy == "fitted" and not self.fitted.views:
            raise InputError("reranker.deploy=fitted needs a fitted rule, and reranker.fitted.views is empty")
        if self.power == "auto":
            return
        if not isinstance(self.power, int | float) or isinstance(self.power, bool) or not self.power > 0:
            raise InputError(f"reranker.power={self.power} is no power; it must be a number above 0, or auto")
        self.power = float(self.power)

    def _check_on_hard(self) -> None:
        _one_of("reranker.on_hard", self.on_hard, ("rerank", "abstain", "set", "defer"))
        if not 0 < self.coverage < 1:
            raise InputError(f"reranker.coverage={self.coverage} is out of range; it must be above 0 and below 1")
        default = next(key.default for key in fields(self) if key.name == "coverage")
        if self.coverage != default and self.on_hard != "set":
            raise InputError(
                f"reranker.coverage={self.coverage} has no effect with reranker.on_hard={self.on_hard}; it is for "
                "on_hard=set, so leave it out"
            )
        if self.defer and self.on_hard != "defer":
            raise InputError(
                f"reranker.defer has no effect with reranker.on_hard={self.on_hard}; it is for on_hard=defer, so leave "
                "it out"
            )
        if self.on_hard == "defer" and ("url" in self.defer) == ("_target_" in self.defer):
            raise InputError(
                "reranker.on_hard=defer needs one to ask; give either reranker.defer.url of a server or "
                "reranker.defer._target_ of a function, with + before the key"
            )


@dataclass
class TrainerConfig:
    """The hardware and how training reports itself."""

    accelerator: str = "auto"
    """Lightning's accelerator: auto, cpu, gpu, …"""
    devices: int = 1
    """Number of devices of each machine that compute a run together, each with a process of its own. They divide every
    batch among them, so that `batch_size` stays the number of samples per step."""
    num_nodes: int = 1
    """Number of machines; on several `srun` or `torchrun` starts the processes."""
    strategy: str = "auto"
    """How several processes train: `ddp`, each with the whole network, which is `auto`; or `fsdp`, each with a part of
    a language model's every layer."""
    precision: str = "auto"
    """32-true, bf16-mixed, or 16-mixed (on a CUDA GPU); `auto`: bf16-mixed where the machine computes it natively, else
    32-true."""
    progress: bool = True
    """Whether to draw progress bars."""
    checkpoint_minutes: float = 15.0
    """Minutes of training after which its state is kept within an epoch, too, so that a killed run goes on from there;
    at the end of an epoch it is kept whenever that costs less than a fiftieth of the time."""

    def __post_init__(self) -> None:
        """Check names and ranges."""
        _above("trainer.checkpoint_minutes", self.checkpoint_minutes, 0)
        _above("trainer.devices", self.devices, 1)
        _above("trainer.num_nodes", self.num_nodes, 1)
        _one_of("trainer.strategy", self.strategy, ("auto", "ddp", "fsdp"))
        if self.accelerator == "mps" and self.devices * self.num_nodes > 1:
            raise InputError(
                f"trainer.devices={self.devices} does not work with trainer.accelerator=mps, which is one device; "
                "leave it at 1, or set trainer.accelerator=cpu"
            )
        if self.strategy == "fsdp" and self.devices * self.num_nodes == 1:
            raise InputError(
                "trainer.strategy=fsdp divides a model among processes, and trainer.devices=1 is one; set it to 2 or "
                "more, or leave trainer.strategy out"
            )
        if self.strategy == "fsdp" and self.precision == "16-mixed":
            raise InputError(
                "trainer.precision=16-mixed does not work with trainer.strategy=fsdp, whose processes would scale "
                "gradients each for itself; set trainer.precision=bf16-mixed"
            )
        _one_of("trainer.accelerator", self.accelerator, ("auto", "cpu", "gpu", "cuda", "mps"))
        if self.precision in ("bf16-true", "16-true"):
            raise InputError(
                f"trainer.precision={self.precision} does not work: logits and cosines are computed in float32, since "
                "their last digits decide what is hard; set bf16-mixed, or auto"
            )
        _one_of("trainer.precision", self.precision, ("auto", "32-true", "bf16-mixed", "16-mixed"))


@dataclass
class LoggerConfig:
    """Where metrics go besides results.json."""

    name: str = "wandb"
    """`wandb`, `tensorboard` or `csv`."""
    project: str = "lrsl"
    """W&B project."""
    entity: str | None = None
    """W&B entity; None for the default one."""
    mode: str = "auto"
    """W&B mode: `online`, `offline`, or `auto`, which is offline without a key or a network."""
    tags: list[str] = field(default_factory=list)
    """W&B tags, besides dataset, model and embedding."""
    figures: bool = True
    """Whether to draw a run's figures for W&B and TensorBoard."""
    artifacts: bool = False
    """Whether W&B gets the classifier and the reranker too, as artifacts."""

    def __post_init__(self) -> None:
        """Check names."""
        _one_of("logger", self.name, ("wandb", "tensorboard", "csv"))
        _one_of("logger.mode", self.mode, ("auto", "online", "offline"))
        if self.artifacts and self.name != "wandb":
            raise InputError(f"logger.artifacts=true is W&B's, and logger={self.name}; choose logger=wandb for it")


@dataclass
class Config:
    """One run: a dataset, a classifier, an embedding, a reranker and a seed."""

    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    reranker: RerankerConfig = field(default_factory=RerankerConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    seed: int = 0
    """Seed of everything random in the run; the validation split does not depend on it."""
    data_dir: str | None = None
    """Folder of local copies of the data sets; the environment variable LRSL_DATA_DIR sets it too."""
    rerun: bool = False
    """Whether to run again what has already finished, every stage of it."""
    cache: bool = True
    """Whether to take from the store what a stage of another run has made of the same; `off` makes everything anew."""
    cache_dir: str = "cache"
    """Folder of the store; the environment variable LRSL_CACHE_DIR sets it too."""

    def __post_init__(self) -> None:
        """Check ranges, and that the model suits the data: what the paper's Table 1 marks with a dash ends here."""
        _above("embedding.k", self.embedding.k, 1)  # here, since it follows reranker.k, which is checked by now
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed={self.seed} is out of range; it must be at least 0 and below 2**32")
        for key in ("data_dir", "cache_dir"):
            _path(key, getattr(self, key))
        if self.dataset.split_seed is None:
            self.dataset = replace(self.dataset, split_seed=self.seed)
        self._check_that_the_model_suits_the_data()
        _given("model", self.model.name, self.model.pretrained)  # last: nobody fetches weights for what cannot run

    def _check_that_the_model_suits_the_data(self) -> None:
        model, dataset = self.model, self.dataset
        if model.language is not None and model.language != dataset.language:
            raise InputError(
                f"model={model.name} knows one language only (model.language={model.language}), and the texts of "
                f"{dataset.name} are in another (dataset.language={dataset.language}); choose another model for it"
            )
        if model.architecture == "aphan" and dataset.single_sentence:
            raise InputError(
                f"model={model.name} pairs the turns of a dialogue or the sentences of a document, and the texts of "
                f"{dataset.name} are single sentences (dataset.single_sentence=true); choose another model for it"
            )
        if model.architecture == "hldic" and not dataset.grouped:
            raise InputError(
                f"model={model.name} needs labels on two levels, and the labels of {dataset.name} have no groups; name "
                "the column of the coarse label with dataset.group=COL, or choose another model"
            )
