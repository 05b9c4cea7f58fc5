"""How several processes train one network: each a copy of it (DDP), or each a part of it (FSDP)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, cast

import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from pytorch_lightning.strategies import DDPStrategy, Strategy
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map

from lrsl.config.schema import TrainerConfig
from lrsl.errors import InputError
from lrsl.nn import processes

TIMEOUT = timedelta(hours=2)
"""How long processes wait for each other within a step; that one has failed they learn at once, in another way."""


class Here(ClusterEnvironment):
    """Tells Lightning of the processes that there are already."""

    @property
    def creates_processes_externally(self) -> bool:
        """Say that Lightning has none to start."""
        return True

    @property
    def main_address(self) -> str:
        """Not asked for: the process group is there."""
        return "127.0.0.1"

    @property
    def main_port(self) -> int:
        """Not asked for: the process group is there."""
        return 0

    @staticmethod
    def detect() -> bool:
        """Say that this is to be chosen, not to be found."""
        return False

    def world_size(self) -> int:
        """Return how many processes there are."""
        return processes.count()[0]

    def set_world_size(self, size: int) -> None:
        """Leave it as it is."""

    def global_rank(self) -> int:
        """Return which process this is."""
        return processes.count()[1]

    def set_global_rank(self, rank: int) -> None:
        """Leave it as it is."""

    def local_rank(self) -> int:
        """Return which process of this machine this is."""
        group = processes.together()
        return 0 if group is None else group.local_rank

    def node_rank(self) -> int:
        """Return which machine this is."""
        group = processes.together()
        return 0 if group is None else group.rank // group.local_size


class Copies(DDPStrategy):
    """DDP: each process has the network, and the gradients are averaged.

    Parameters may be without a gradient, such as those of a pooling layer that nothing asks for.
    """

    def __init__(self) -> None:
        super().__init__(find_unused_parameters=True, timeout=TIMEOUT)


class Shards(DDPStrategy):
    """FSDP: each process has a part of every decoder layer, and the others' for as long as the layer is computed.

    By torch's `fully_shard`, which shards a network in place: it is still so when it predicts. The adapters of a
    checkpoint are whole.
    """

    def __init__(self) -> None:
        super().__init__(timeout=TIMEOUT)

    def setup(self, trainer: Any) -> None:
        """Shard the network before anything of it is moved."""
        assert self.accelerator is not None
        self.accelerator.setup(trainer)
        module: Any = self.lightning_module
        shard(module.network, self.root_device)
        module.to(self.root_device)  # buffers, and what counts; the parts are there already
        self.setup_precision_plugin()
        if trainer.state.fn == "fit":
            self.setup_optimizers(trainer)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Return what is trained, each tensor whole; called by all processes."""
        assert self.lightning_module is not None
        parameters = self.lightning_module.named_parameters(remove_duplicate=False)
        frozen = {name for name, parameter in parameters if not parameter.requires_grad}
        state = self.lightning_module.state_dict()
        return {name: whole(value) for name, value in state.items() if name not in frozen}

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        """Return what an optimiser keeps, each tensor whole; called by all processes."""
        return cast(dict[str, Any], tree_map(whole, super().optimizer_state(optimizer)))

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Give an optimiser its parts of what it kept, as its parameters are divided; called by all processes."""
        states = []
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            states.append({**state, "state": {n: _parts(kept, parameters[n]) for n, kept in state["state"].items()}})
        super().load_optimizer_state_dict({"optimizer_states": states})

    def teardown(self) -> None:
        """Leave the shards where they are; the network is asked for predictions next."""


def shard(network: nn.Module, device: torch.device) -> None:
    """Shard a network's decoder layers, each by itself, and then what is left of it; one that is sharded stays so.

    Args:
        network: a language model with a head, changed in place.
        device: where this process's parts go.

    Raises:
        InputError: this version of torch shards no such network.
    """
    from torch.distributed.device_mesh import init_device_mesh  # noqa: PLC0415  (what follows came with torch 2.6)
    from torch.distributed.fsdp import FSDPModule, fully_shard  # noqa: PLC0415

    if isinstance(network, FSDPModule):
        return
    mesh = init_device_mesh(device.type, (processes.count()[0],))
    try:
        for layer in layers_of(network):
            fully_shard(layer, mesh=mesh)
        fully_shard(network, mesh=mesh)
    except (AssertionError, NotImplementedError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"trainer.strategy=fsdp does not work with torch {torch.__version__} here ({reason}); update torch, or set "
            "trainer.strategy=ddp"
        ) from None


def layers_of(network: nn.Module) -> list[nn.Module]:
    """Return the decoder layers of a language model: the modules that its makers say must not be split."""
    names: set[str] = set()
    for module in network.modules():
        names |= set(getattr(module, "_no_split_modules", None) or ())
    return [module for module in network.modules() if type(module).__name__ in names]


def whole(value: Any) -> Any:
    """Return a tensor whole where this process has a part of it; then all processes have to ask."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def like(value: Tensor, shown: Any) -> Tensor:
    """Return a whole tensor in the parts that another one is in."""
    if not isinstance(shown, DTensor):
        return value
    return distribute_tensor(value.to(shown.device_mesh.device_type), shown.device_mesh, shown.placements)


def _parts(kept: Mapping[str, Tensor], parameter: Tensor) -> dict[str, Tensor]:
    """Return what an optimiser keeps of a parameter in the parts that it is in; numbers such as its steps are whole."""
    return {name: like(value, parameter) if value.dim() else value for name, value in kept.items()}


def placed(config: TrainerConfig, *, shards: bool) -> dict[str, Any]:
    """Return what a Lightning trainer is told of the processes.

    Args:
        config: hardware.
        shards: whether the network can be sharded.
    """
    group = processes.together()
    if group is None:
        # an environment that some scheduler has left is none of a stage's that is computed alone
        return {"devices": 1, **({"plugins": [Here()]} if processes.are_several() else {})}
    strategy: Strategy = Shards() if shards and config.strategy == "fsdp" else Copies()
    nodes = group.size // group.local_size
    return {
        "devices": group.local_size,
        "num_nodes": nodes,
        "strategy": cast(Any, strategy),
        "plugins": [Here()],
    }
