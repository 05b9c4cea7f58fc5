"""Whether the weights in a folder are those of the network that was made of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedModel

from lrsl.errors import InputError

_ADAPTERS = "adapter_config.json"


def check_weights(
    network: PreTrainedModel, told: Mapping[str, Any], path: str, name: str, part: nn.Module | None = None
) -> None:
    """Check that most of a network's parameters come from a file: those that no file has are drawn at random.

    Heads, a pooling layer and weights that are tied may be missing. Where there are adapters nothing is checked.

    Args:
        network: as `from_pretrained` returns it.
        told: what `from_pretrained` tells of it, with `output_loading_info=True`.
        path: where it was loaded from.
        name: what an error calls it, as in `model.pretrained=FOLDER`.
        part: the part of it that is used; all of it unless given.

    Raises:
        InputError: more than half of them do not.
    """
    if (Path(path) / _ADAPTERS).exists():  # what is told is of the adapters
        return
    used = set(map(id, (part or network).parameters()))
    sizes = {of: values.numel() for of, values in network.named_parameters() if id(values) in used}
    missing = [of for of in sizes if of in told["missing_keys"]]
    if 2 * sum(sizes[of] for of in missing) <= sum(sizes.values()):
        return
    others = min(told["unexpected_keys"], default=None)
    raise InputError(
        f"{name} lacks {len(missing)} of the {len(sizes)} weights of its network, such as '{missing[0]}'"
        f"{f', and holds others, such as {others!r}' if others else ''}; give a folder that save_pretrained wrote"
    )


def check_weights_in(folder: str, network: PreTrainedModel, name: str) -> None:
    """Check as `check_weights` does a network that another library has loaded.

    It is loaded again where the names in the files do not look like those of the network.

    Args:
        folder: where it was loaded from; of what is no folder nothing can be said.
        network: the network.
        name: what an error calls it.

    Raises:
        InputError: more than half of its parameters are in no file.
    """
    held = _names_in(Path(folder))
    if held is None:
        return
    start = f"{network.base_model_prefix}."
    plain = {weight.removeprefix(start) for weight in held}
    sizes = {weight.removeprefix(start): values.numel() for weight, values in network.named_parameters()}
    if 2 * sum(size for weight, size in sizes.items() if weight in plain) < sum(sizes.values()):
        kind: Any = type(network)
        network, told = kind.from_pretrained(folder, output_loading_info=True)
        check_weights(network, told, folder, name)


def _names_in(folder: Path) -> set[str] | None:
    """Return what the weights in a folder are called, none of pickled ones that cannot be mapped; None without any."""
    if files := sorted(folder.glob("model*.safetensors")):
        names: set[str] = set()
        for path in files:
            with safe_open(path, framework="pt") as file:
                names.update(file.keys())
        return names
    if not (files := sorted(folder.glob("pytorch_model*.bin"))):
        return None
    try:
        return {str(name) for path in files for name in torch.load(path, "cpu", weights_only=True, mmap=True)}
    except RuntimeError:  # as torch saved it until version 1.6
        return set()
