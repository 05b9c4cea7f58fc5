"""A causal language model as a classifier: QLoRA (Dettmers et al., 2023), the state of the last token, and a head."""

from __future__ import annotations

import dataclasses
import json
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, TaskType, get_peft_model, set_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import AutoModel, BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase

from lrsl.classifiers.encoder import MLPHead
from lrsl.classifiers.network import Network
from lrsl.config.keys import model_of_any_version
from lrsl.config.schema import AphanConfig, HldicConfig, ModelConfig
from lrsl.config.schema import LoraConfig as LoraSettings
from lrsl.data.corpus import Split
from lrsl.errors import InputError
from lrsl.nn import processes
from lrsl.nn.batches import Batch, TokenDataset
from lrsl.nn.pretrained import check_reads_texts, load_tokenizer, loading, longest_input, quiet
from lrsl.nn.weights import check_weights

KEY = "model.pretrained"
SHORT = 8
"""Tokens of the text that a language model is tried with when it is loaded."""
ADAPTER = "adapter"
ADAPTER_WEIGHTS = "adapter_model.safetensors"  # PEFT's name
HEAD_WEIGHTS = "head.safetensors"


def last_token(states: Tensor, attention_mask: Tensor) -> Tensor:
    """Return the state of the last real token of each text, the only one that has seen all of it.

    Args:
        states: token states, `(n, tokens, d)`.
        attention_mask: 1 for real tokens, then 0 for padding, `(n, tokens)`.

    Returns:
        `(n, d)`.
    """
    last = attention_mask.sum(1).clamp(min=1) - 1
    return states[torch.arange(len(states), device=states.device), last]


class LLMClassifier(Network):
    """A frozen causal language model, 4-bit or not, with LoRA on all its linear layers and an `MLPHead` in float32.

    Only the adapters and the head are trained, and only they are exported. In evaluation no more than `batch_size`
    texts are computed at a time, so that what fits into memory in training fits there too.

    Args:
        base: a causal language model without its language-modelling head; it is frozen, and changed in place.
        tokenizer: its tokenizer; without a padding token it gets one.
        classes: number of labels.
        settings: LoRA, dropout, the head's hidden layer, longest input and gradient checkpointing.

    Raises:
        InputError: the tokenizer has no token to pad with, or the model cannot compute activations again.
    """

    def __init__(
        self, base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, classes: int, settings: ModelConfig
    ) -> None:
        super().__init__()
        self.tokenizer = with_padding(tokenizer)
        self.settings = settings
        self.classes = classes
        self.max_length = longest_input(tokenizer, base, settings.max_length)
        config: Any = base.config
        config.pad_token_id = tokenizer.pad_token_id
        config.use_cache = False
        self.llm = add_lora(base, settings)
        if settings.gradient_checkpointing:
            recompute_activations(base)
        self.head = MLPHead(config.hidden_size, classes, hidden=settings.head_hidden, dropout=settings.dropout)

    def samples(self, split: Split) -> TokenDataset:
        """Return the token ids of the texts."""
        return TokenDataset(self.tokenizer, split.texts, split.labels, self.max_length, self.tokenize)

    def forward(self, batch: Batch) -> Tensor:
        """Return logits `(n, classes)` in float32 for `input_ids` and `attention_mask` `(n, tokens)`."""
        ids, mask = batch["input_ids"], batch["attention_mask"]
        if self.training:
            return self._logits(ids, mask)
        rows = self.settings.batch_size
        parts = list(zip(ids.split(rows), mask.split(rows), strict=True))
        wanted = len(parts)
        if is_sharded(self):  # its layers come together only when all processes compute them
            parts += parts[-1:] * (processes.most(wanted) - wanted)
        return torch.cat([self._logits(*part) for part in parts][:wanted])

    def _logits(self, ids: Tensor, mask: Tensor) -> Tensor:
        states = self.llm(input_ids=ids, attention_mask=mask).last_hidden_state
        with torch.autocast(states.device.type, enabled=False):  # half a logit decides what is hard: keep it exact
            logits: Tensor = self.head(last_token(states, mask).float())
        return logits

    def export(self, folder: Path) -> None:
        """Write `adapter/` into a folder: the adapters in PEFT's own format and the head, both as safetensors.

        `PeftModel.from_pretrained` reads the adapters; `load_exported` reads both.
        """
        adapter = folder / ADAPTER
        trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        state = {name: whole(value) for name, value in self.state_dict().items() if name in trained}
        if not processes.leads():
            return
        with quiet():
            adapters = {name.removeprefix("llm."): value for name, value in state.items() if name.startswith("llm.")}
            # PEFT would ask the hub whether the embeddings were resized, and they never are
            self.llm.save_pretrained(str(adapter), state_dict=adapters, save_embedding_layers=False)
        about = {"classes": self.classes, "settings": dataclasses.asdict(self.settings)}
        of_head = {name.removeprefix("head."): value for name, value in state.items() if name.startswith("head.")}
        weights = {name: weight.detach().cpu().contiguous() for name, weight in of_head.items()}
        save_file(weights, adapter / HEAD_WEIGHTS, metadata={"lrsl": json.dumps(about)})


def with_padding(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Give a tokenizer a padding token if it has none: which one is no matter, since padding is masked."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise InputError(
            f"{KEY}: the tokenizer has no padding, unknown or end token; add one to its tokenizer_config.json"
        )
    return tokenizer


def add_lora(base: PreTrainedModel, settings: ModelConfig) -> Any:
    """Return a frozen model with trainable adapters, float32, on each of its linear layers."""
    lora = LoraConfig(
        task_type=TaskType.FEATURE_EXTRACTION,
        r=settings.lora.rank,
        lora_alpha=settings.lora.alpha,
        lora_dropout=settings.lora.dropout,
        target_modules="all-linear",
    )
    base.requires_grad_(False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)  # PEFT asks by the old name
        return get_peft_model(base, lora)


def recompute_activations(base: PreTrainedModel) -> None:
    """Keep the activations between layers only, and compute the rest again on the way back.

    The reentrant kind would give no gradient at all: its inputs, the frozen embeddings, need none.
    """
    if not base.supports_gradient_checkpointing:
        raise InputError(
            f"{KEY}: {type(base).__name__} cannot compute activations again; set model.gradient_checkpointing=false"
        )
    # transformers 5 has a new name for it and warns of the old one
    enable: Any = getattr(base, "activation_checkpointing_enable", None) or base.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def is_sharded(network: nn.Module) -> bool:
    """Tell whether each of several processes has a part of a network."""
    return any(of.__name__ == "FSDPModule" for of in type(network).__mro__)


def whole(value: Tensor) -> Tensor:
    """Return a tensor whole where this process has a part of it; then all processes have to ask."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def load_llm(settings: ModelConfig, classes: int, device: str = "auto", *, shards: bool = False) -> LLMClassifier:
    """Return the classifier for a number of labels, its language model loaded, adapters and head fresh.

    Args:
        settings: the `model` part of the configuration.
        classes: number of labels.
        device: as for `load_base`.
        shards: as for `load_base`.

    Raises:
        InputError: the model is neither a folder nor reachable, or 4-bit weights do not work on this machine.
    """
    tokenizer = load_tokenizer(settings.pretrained, KEY)
    base = load_base(settings, device, shards=shards)
    check_reads_texts(base, tokenizer, SHORT, f"{KEY}={settings.pretrained}")
    if settings.gradient_checkpointing is None:
        scarce = activation_bytes(base, settings) > memory(device) / 2
        settings = dataclasses.replace(settings, gradient_checkpointing=scarce)
    return LLMClassifier(base, tokenizer, classes, settings)


def activation_bytes(base: PreTrainedModel, settings: ModelConfig) -> int:
    """Return about how many bytes a training step keeps for the way back, when nothing is computed again.

    For each token, each layer keeps the inputs of its linear layers, once more for the adapters on them and their
    dropout, and what lies between: in float32 some 24 times the width of its states and 8 times that of its MLP.
    """
    config: Any = base.config
    values = 24 * config.hidden_size + 8 * (getattr(config, "intermediate_size", None) or 4 * config.hidden_size)
    return int(4 * values * config.num_hidden_layers * settings.batch_size * settings.max_length)


def memory(device: str) -> int:
    """Return the bytes of memory of a kind of device; `auto` is the best there is."""
    if device in ("cuda", "auto") and torch.cuda.is_available():
        return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def load_exported(folder: Path, *, pretrained: str | None = None, device: str = "auto") -> LLMClassifier:
    """Return a classifier from what `LLMClassifier.export` wrote, in evaluation mode.

    Args:
        folder: the folder `adapter`, which holds the adapters and the head.
        pretrained: where its language model is now; None for where it was.
        device: as for `load_base`.

    Raises:
        InputError: a file is missing or damaged, or the language model is another one.
    """
    about, head = _read_head(folder / HEAD_WEIGHTS)
    settings = _recorded(about["settings"])
    if pretrained is not None:
        settings = dataclasses.replace(settings, pretrained=pretrained)
    adapters = _read(folder / ADAPTER_WEIGHTS)
    network = load_llm(settings, about["classes"], device)
    try:
        result: Any = set_peft_model_state_dict(network.llm, adapters)
        network.head.load_state_dict(head)
    except RuntimeError as error:
        raise InputError(f"{folder} does not fit {settings.pretrained}: {' '.join(str(error).split())[:200]}") from None
    missing = [name for name in result.missing_keys if "lora_" in name]
    if missing or result.unexpected_keys:
        raise InputError(f"{folder} does not fit {settings.pretrained}: its adapters sit on other layers")
    return network.eval()


def _recorded(settings: dict[str, Any]) -> ModelConfig:
    """Return settings as this or an earlier version has exported them, keys that are gone left out."""
    known = {field.name for field in dataclasses.fields(ModelConfig)}
    kept = {key: value for key, value in model_of_any_version(settings).items() if key in known}
    lora = LoraSettings(**kept.get("lora", {}))
    return ModelConfig(**{**kept, "lora": lora, "aphan": AphanConfig(), "hldic": HldicConfig()})


def _read_head(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    weights = _read(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    if "lrsl" not in metadata:
        raise InputError(f"{path} does not say how it was trained; give the folder that a run wrote")
    return json.loads(metadata["lrsl"]), weights


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(f"{path} is missing; give the folder `adapter` that a run wrote beside its classifier")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path} is damaged ({error}); export it again") from None


def load_base(settings: ModelConfig, device: str = "auto", *, shards: bool = False) -> PreTrainedModel:
    """Return a causal language model without its language-modelling head.

    4-bit weights are made where they will be used, since a GPU makes them many times faster; unquantised ones are in
    bfloat16 for a GPU, else in float32, and follow the trainer to its device.

    Args:
        settings: the `model` part of the configuration.
        device: the kind of device it will compute on, whatever else this machine has: `cuda`, `mps`, `cpu`, or `auto`
            for a GPU where there is one.
        shards: whether it is going to be sharded among processes. What is not quantised is then left on the CPU, from
            where each process takes its parts; the 4-bit weights lie in the type that they are computed in.

    Raises:
        InputError: it is neither a folder with a model nor reachable, lacks most of its weights, or 4-bit weights do
            not work on this machine.
    """
    gpu = device in ("auto", "cuda") and torch.cuda.is_available()
    options: dict[str, Any] = {"dtype": torch.bfloat16 if gpu else torch.float32}
    if settings.quantize == "nf4":
        together = processes.together()
        place = torch.device(f"cuda:{together.local_rank if together else 0}" if gpu else "cpu")
        check_four_bit(place)
        options = {"dtype": torch.bfloat16, "device_map": {"": place}, "quantization_config": nf4(shards=shards)}
    with loading(settings.pretrained, KEY) as path, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base, told = AutoModel.from_pretrained(path, trust_remote_code=False, output_loading_info=True, **options)
        assert isinstance(base, PreTrainedModel)
        check_weights(base, told, path, f"{KEY}={settings.pretrained}")
    keep_four_bit_layers(base)
    return base


def keep_four_bit_layers(network: nn.Module) -> None:
    """Keep a network's 4-bit layers as they were loaded.

    On CPUs with bfloat16 instructions bitsandbytes packs the weights anew at the first evaluation, rounds their scales,
    asks for widths it can divide by 32, and gives no gradient from then on.
    """
    layer: Any
    for layer in network.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False


def nf4(*, shards: bool = False) -> BitsAndBytesConfig:
    """Return QLoRA's quantisation: 4-bit NormalFloat, its scales quantised too, computed in bfloat16.

    Args:
        shards: whether the weights are to be sharded: they then lie in bfloat16 as well, two bytes to a value, for a
            sharded layer's weights have one type.
    """
    storage = {"bnb_4bit_quant_storage": torch.bfloat16} if shards else {}
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        **storage,
    )


def check_four_bit(device: torch.device | str) -> None:
    """Take a tiny 4-bit layer forward and back.

    Raises:
        InputError: bitsandbytes cannot do that on this machine.
    """
    try:
        import bitsandbytes.nn as four_bit  # noqa: PLC0415  (may be what fails)

        make: Any = four_bit.Linear4bit  # type: ignore[attr-defined]
        layer = make(64, 64, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4").to(device)
        x = torch.ones(2, 64, device=device, requires_grad=True)
        layer(x).sum().backward()
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}".rstrip(":. ")
        raise InputError(
            f"model.quantize=nf4 does not work on this machine (bitsandbytes on {device}: {reason}); "
            "set model.quantize=none"
        ) from None
