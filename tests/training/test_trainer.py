from types import SimpleNamespace

import pytest
import torch
from scripted import ScriptedClassifier, batches, wrong

from lrsl.config.schema import TrainerConfig
from lrsl.errors import InputError
from lrsl.nn.precision import native_precision
from lrsl.training.module import TrainingModule
from lrsl.training.trainer import build_trainer, precision


class Clipped(TrainingModule):
    """Two weights, whose gradient may have a norm of 10."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2))

    def optimisation(self, steps):
        raise NotImplementedError

    def clip(self):
        torch.nn.utils.clip_grad_norm_(self.parameters(), 10.0)


CPU = TrainerConfig(accelerator="cpu", precision="32-true", progress=False)


@pytest.fixture
def machine(monkeypatch):
    """Return a function that makes this machine one with or without bfloat16, on its CPU or on a GPU."""
    native_precision.cache_clear()

    def make(*, bf16, gpu=False):
        native_precision.cache_clear()
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16 or including_emulation)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16 and not gpu, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)

    yield make
    native_precision.cache_clear()


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize(("bf16", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_is_bf16_where_the_machine_computes_it_natively(machine, bf16, gpu, expected):
    machine(bf16=bf16, gpu=gpu)
    assert precision(TrainerConfig(precision="auto")) == expected


def test_the_cpu_of_a_machine_with_a_gpu_is_asked_itself(machine):
    machine(bf16=True, gpu=True)
    assert precision(TrainerConfig(accelerator="cpu")) == "32-true"


def test_amx_will_do(machine, monkeypatch):
    machine(bf16=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert precision(TrainerConfig()) == "bf16-mixed"


def test_a_torch_that_cannot_tell_trains_in_float32(machine, monkeypatch):
    machine(bf16=True)
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name)
    assert precision(TrainerConfig()) == "32-true"


def test_a_precision_that_is_asked_for_is_taken(machine):
    machine(bf16=True)
    assert precision(TrainerConfig(precision="32-true")) == "32-true"


@pytest.mark.parametrize("kind", ["cpu", "mps"])
def test_float16_is_for_a_cuda_gpu(machine, monkeypatch, kind):
    machine(bf16=True)
    with pytest.raises(
        InputError, match=rf"^trainer\.precision=16-mixed needs a CUDA GPU, and this run is on {kind}; "
    ):
        precision(TrainerConfig(accelerator=kind, precision="16-mixed"))
    machine(bf16=True, gpu=True)
    assert precision(TrainerConfig(accelerator="gpu", precision="16-mixed")) == "16-mixed"


def test_a_gradient_that_comes_scaled_is_clipped_at_its_own_size():
    module = Clipped()
    optimizer = torch.optim.AdamW(module.parameters())
    module.weight.grad = torch.tensor([3.0, 4.0]) * 1024
    scaler = SimpleNamespace(unscale_=lambda _: module.weight.grad.div_(1024))
    module._trainer = SimpleNamespace(precision_plugin=SimpleNamespace(scaler=scaler))
    module.configure_gradient_clipping(optimizer, None, None)
    assert module.weight.grad.norm().item() == pytest.approx(5)  # and not 10
    module._trainer = SimpleNamespace(precision_plugin=SimpleNamespace())
    module.weight.grad = torch.tensor([30.0, 40.0])
    module.configure_gradient_clipping(optimizer, None, None)
    assert module.weight.grad.norm().item() == pytest.approx(10)


def test_training_stops_after_patience_and_keeps_the_first_of_equally_good_epochs(tmp_path):
    better, same, worse = wrong(5, 5, 5, -2), wrong(5, 5, -5, 1), wrong(-5, -5, 5, -5)
    trainer = build_trainer(CPU, "classifier", tmp_path, epochs=9, monitor="val/acc", patience=2)
    module = ScriptedClassifier([worse, better, same, worse, *[better] * 5])
    trainer.fit(module, batches(), batches())
    assert trainer.current_epoch == 4
    assert [path.name for path in tmp_path.iterdir()] == ["best.ckpt"]
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["epoch"] == 1


def test_without_a_monitor_nothing_is_kept(tmp_path):
    trainer = build_trainer(CPU, "classifier", tmp_path)
    trainer.fit(ScriptedClassifier([wrong(1, 1, 1, 1)]), batches(), batches())
    assert trainer.checkpoint_callback is None
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_in_the_same_folder_replaces_the_checkpoint(tmp_path):
    for best in (0, 1):
        epochs = [wrong(5, 5, 5, 5) if epoch == best else wrong(5, 5, 5, -5) for epoch in range(2)]
        trainer = build_trainer(CPU, "classifier", tmp_path, epochs=2, monitor="val/acc", patience=9)
        with pytest.warns(UserWarning, match="exists and is not empty") if best else _nothing():
            trainer.fit(ScriptedClassifier(epochs), batches(), batches())
        assert [path.name for path in tmp_path.iterdir()] == ["best.ckpt"]
        assert torch.load(tmp_path / "best.ckpt", weights_only=True)["epoch"] == best


def _nothing():
    from contextlib import nullcontext

    return nullcontext()


def test_progress_names_the_stage_line_by_line_where_there_is_no_terminal(tmp_path, capfd):
    config = TrainerConfig(accelerator="cpu", precision="32-true", progress=True)
    trainer = build_trainer(config, "classifier", tmp_path, epochs=2, monitor="val/acc", patience=9)
    trainer.fit(ScriptedClassifier([wrong(5, 5, 5, -1), wrong(5, 5, 5, 5)]), batches(), batches())
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("classifier")]
    assert [line.split(":")[0] for line in lines] == ["classifier, epoch 1/2", "classifier, epoch 2/2"]
    assert "val/acc 0.7500" in lines[0]
    assert "val/acc 1.0000" in lines[1]
