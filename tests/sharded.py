"""Trains a tiny language model in two processes that have a part of each layer, and then in one that has all."""

import functools
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import tiny
import torch
import torch.distributed as dist
from safetensors.torch import save_file

from lrsl.classifiers.llm import load_llm
from lrsl.config.schema import LoraConfig, ModelConfig, TrainerConfig
from lrsl.data.corpus import Split
from lrsl.nn import processes
from lrsl.nn.batches import loader
from lrsl.nn.kept import Kept
from lrsl.nn.processes import Together, joined
from lrsl.training.classifier import Classifier
from lrsl.training.resuming import Resuming
from lrsl.training.trainer import build_trainer, load_best

ROWS = 50  # batches of 16 leave two


def main(arguments: list[str]) -> int:
    """Train, and let the first process say what came of it.

    Args:
        arguments: the language model, how it is quantised, the precision, and where to leave what comes of it.
    """
    pretrained, quantize, precision, folder = arguments
    model = ModelConfig(
        name="tiny", architecture="llm", pretrained=pretrained, quantize=quantize, epochs=2, batch_size=16, lr=1e-3,
        head_lr=1e-2, dropout=0.0, gradient_checkpointing=True, max_length=24, head_hidden=8,
        lora=LoraConfig(rank=4, alpha=8, dropout=0.0),
    )  # fmt: skip
    trainer = TrainerConfig(accelerator="cpu", precision=precision, progress=False, devices=2, strategy="fsdp")
    rank, out = int(os.environ["RANK"]), Path(folder)
    store = dist.TCPStore("127.0.0.1", int(os.environ["MASTER_PORT"]), is_master=rank == 0, wait_for_workers=False)
    dist.init_process_group("gloo", store=dist.PrefixStore("group", store), rank=rank, world_size=2)
    with joined(Together(dist.PrefixStore("told", store), rank, 2, rank, 2)):
        resumed, _ = resumed_training(model, trainer, out)
        logits, network = trained(model, trainer, out / "two", shards=True)
        network.state_dict()  # after which all is in its parts
        frozen = [weight for weight in network.parameters() if not weight.requires_grad]
        about = {
            "types": sorted({type(module).__name__ for module in network.modules() if "FSDP" in type(module).__name__}),
            "here": sum(weight.to_local().numel() for weight in frozen),
            "all": sum(weight.numel() for weight in frozen),
            "stored": sorted({str(weight.dtype) for weight in frozen}),
        }
    dist.barrier()
    dist.destroy_process_group()
    if rank == 0:
        of_one, _ = trained(model, replace(trainer, devices=1, strategy="auto"), out / "one", shards=False)
        save_file({"two": logits, "one": of_one, "resumed": resumed}, out / "logits.safetensors")
        (out / "about.json").write_text(json.dumps(about))
    return 0


class KilledError(Exception):
    """What ends a training in the middle of its second epoch."""


class Killed(pl.Callback):
    """Ends a training in the middle of its second epoch."""

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        """End it."""
        if trainer.current_epoch == 1 and batch_idx == 2:
            raise KilledError


def resumed_training(model: ModelConfig, config: TrainerConfig, folder: Path) -> tuple[torch.Tensor, Classifier]:
    """Return what `trained` returns of a training that ended in the middle and was taken up again."""
    try:
        trained(model, config, folder / "killed", shards=True, kept=folder / "kept", callbacks=[Killed()])
    except KilledError:
        return trained(model, config, folder / "resumed", shards=True, kept=folder / "kept")
    raise AssertionError("it was not killed")


def trained(
    model: ModelConfig,
    config: TrainerConfig,
    folder: Path,
    *,
    shards: bool,
    kept: Path | None = None,
    callbacks: list[pl.Callback] | None = None,
) -> tuple[torch.Tensor, Classifier]:
    """Return the logits of all rows by the best epoch, and the network, whose adapters are exported into the folder.

    Args:
        model: the language model.
        config: hardware.
        folder: where the best checkpoint and the adapters go.
        shards: whether each process has a part of the network.
        kept: where the training keeps what it has reached after every step, if it does.
        callbacks: more callbacks.
    """
    texts, labels = tiny.samples(ROWS)
    split = Split(ids=[str(row) for row in range(ROWS)], texts=texts, labels=labels)
    pl.seed_everything(0, verbose=False)
    module = Classifier(load_llm(model, len(tiny.LABELS), "cpu", shards=shards), model, len(tiny.LABELS))
    samples = module.network.samples(split)
    resuming = None if kept is None else Resuming(Kept(kept, "classifier", minutes=0), 2)
    trainer = build_trainer(
        *(config, "classifier", folder),
        epochs=2, monitor="val/acc", shards=shards, resuming=resuming, callbacks=callbacks,
    )  # fmt: skip
    fit = trainer.fit if resuming is None else functools.partial(resuming.fit, trainer)
    fit(module, loader(samples, 16, seed=0), loader(samples, 7))
    load_best(module, folder / "best.ckpt")
    module.network.export(folder)
    batches = build_trainer(config, "logits", folder, shards=shards).predict(module, loader(samples, 33))
    index, logits = (processes.gathered(torch.cat([batch[key] for batch in batches])) for key in ("index", "logits"))
    rows = torch.empty(ROWS, dtype=torch.int64)
    rows[index] = torch.arange(len(index))
    return logits[rows], module.network
