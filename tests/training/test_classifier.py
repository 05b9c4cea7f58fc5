from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from scripted import Script
from tiny import samples
from torch import nn

from lrsl.classifiers.encoder import EncoderClassifier
from lrsl.config.schema import ModelConfig, TrainerConfig
from lrsl.nn.batches import TokenDataset, loader
from lrsl.nn.pretrained import load_encoder, load_tokenizer
from lrsl.training.classifier import Classifier
from lrsl.training.trainer import build_trainer

SETTINGS = ModelConfig(
    epochs=2, batch_size=16, lr=1e-3, head_lr=1e-2, warmup=0.25, gradient_clip=0.01, weight_decay=0.125
)


class Watch(pl.Callback):
    """Remembers, step by step, learning rates, the modes of all dropout, and the gradient that was applied."""

    def __init__(self):
        self.rates, self.decay, self.dropping, self.norms = [], set(), [], []

    def on_train_batch_start(self, trainer, module, *_):
        groups = trainer.optimizers[0].param_groups
        self.rates.append([group["lr"] for group in groups])
        self.decay |= {group["weight_decay"] for group in groups}
        self.dropping.append([layer.training for layer in module.modules() if isinstance(layer, nn.Dropout)])

    def on_before_zero_grad(self, trainer, module, optimizer):
        grads = [p.grad.norm() for p in module.parameters() if p.grad is not None]
        if grads:
            self.norms.append(torch.stack(grads).norm().item())


@pytest.fixture(scope="module")
def fitted(tiny_bert, tmp_path_factory):
    """Two epochs of six steps under bf16 mixed precision."""
    pl.seed_everything(0, verbose=False)
    tokenizer, encoder = load_tokenizer(str(tiny_bert)), load_encoder(str(tiny_bert))
    pretrained_mode = encoder.training
    module = Classifier(EncoderClassifier(encoder, tokenizer, 4, SETTINGS), SETTINGS, 4)
    train, val = (TokenDataset(tokenizer, *samples(n, seed=n), 24) for n in (96, 40))
    watch = Watch()
    trainer = build_trainer(
        TrainerConfig(accelerator="cpu", precision="bf16-mixed", progress=False),
        "classifier",
        tmp_path_factory.mktemp("classifier"),
        epochs=2,
        monitor="val/acc",
        callbacks=[watch],
    )
    trainer.fit(module, loader(train, 16, seed=0), loader(val, 7))
    return SimpleNamespace(module=module, trainer=trainer, watch=watch, val=val, pretrained_mode=pretrained_mode)


def test_the_head_has_its_own_learning_rate_and_nothing_is_left_out():
    network = Script([])
    network.frozen = nn.Parameter(torch.zeros(1), requires_grad=False)
    body, head = Classifier(network, SETTINGS, 4).parameter_groups()
    assert (body["lr"], head["lr"]) == (1e-3, 1e-2)
    assert [id(p) for p in body["params"]] == [id(network.body)]
    assert [id(p) for p in head["params"]] == [id(p) for p in network.head.parameters()]


def test_every_parameter_is_in_one_group(fitted):
    grouped = [id(p) for group in fitted.module.parameter_groups() for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in fitted.module.parameters())


def test_the_rates_warm_up_and_decay_step_by_step(fitted):
    shape = [0, 1 / 3, 2 / 3, *(1 - i / 9 for i in range(9))]  # a quarter of 12 steps up
    assert fitted.watch.rates == [pytest.approx([1e-3 * factor, 1e-2 * factor]) for factor in shape]
    assert fitted.watch.decay == {0.125}


def test_dropout_is_on_while_training_though_the_encoder_came_in_evaluation_mode(fitted):
    assert fitted.pretrained_mode is False
    assert len(fitted.watch.dropping) == 12  # the second epoch, after validation, included
    assert all(len(step) > 1 and all(step) for step in fitted.watch.dropping)


def test_gradients_are_clipped_under_mixed_precision(fitted):
    assert len(fitted.watch.norms) >= 10
    assert max(fitted.watch.norms) == pytest.approx(0.01, rel=1e-3)


def test_metrics_have_their_names(fitted):
    assert {"classifier/train_loss", "val/loss", "val/acc"} <= set(fitted.trainer.callback_metrics)


def test_val_acc_weighs_every_sample_alike(fitted):
    module = fitted.module.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        correct = [module(batch).argmax(-1) == batch["label"] for batch in loader(fitted.val, 7)]
    accuracy = torch.cat(correct).double().mean().item()
    assert fitted.trainer.callback_metrics["val/acc"].item() == pytest.approx(accuracy)


def test_the_logits_are_float32_under_mixed_precision(fitted):
    batch = next(iter(loader(fitted.val, 7)))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = fitted.module.eval().test_step(batch, 0)
    assert found["logits"].dtype == torch.float32
    assert torch.equal(found["index"], batch["index"])
    assert torch.equal(found["label"], batch["label"])


def test_the_checkpoint_is_the_weights_alone(fitted):
    saved = torch.load(fitted.trainer.checkpoint_callback.best_model_path, weights_only=True)
    assert set(saved["state_dict"]) == set(fitted.module.state_dict())
    assert saved["optimizer_states"] == saved["lr_schedulers"] == []
