from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from tiny import LABELS, samples
from torch import nn

from lrsl import core
from lrsl.config.schema import EmbeddingConfig, TrainerConfig
from lrsl.data.corpus import Split
from lrsl.embedding.finetuning import confused_labels, finetuned
from lrsl.embedding.label_ranking import LabelRanking
from lrsl.embedding.text_embedding import configured_embedding, encode, load_embedding
from lrsl.nn.batches import TokenDataset, loader
from lrsl.training.embedding import EmbeddingTrainer
from lrsl.training.trainer import best_checkpoint, build_trainer, load_best


class Watch(pl.Callback):
    """Remembers learning rates, the modes of all dropout, and how often the labels were encoded for validation."""

    def __init__(self):
        self.rates, self.dropping, self.encoded = [], [], 0

    def on_train_batch_start(self, trainer, module, *_):
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])
        self.dropping += [layer.training for layer in module.modules() if isinstance(layer, nn.Dropout)]

    def on_validation_start(self, trainer, module):
        self.before = module.ranking.encode_labels

        def counted(labels):
            self.encoded += 1
            return self.before(labels)

        module.ranking.encode_labels = counted

    def on_validation_end(self, trainer, module):
        del module.ranking.encode_labels


class Measured(pl.Callback):
    """Remembers the accuracy of each epoch."""

    def __init__(self):
        self.accuracies = []

    def on_validation_end(self, trainer, module):
        self.accuracies.append(trainer.callback_metrics["embedding/val_acc"].item())


@pytest.fixture(scope="module")
def fitted(tiny_bert, tmp_path_factory):
    """One epoch of four steps."""
    pl.seed_everything(0, verbose=False)
    embedding = load_embedding(str(tiny_bert), max_length=256)
    texts, labels = samples(128, seed=1)
    confused = torch.stack([(torch.tensor(labels) + i) % 4 for i in (1, 2)], dim=1)
    settings = EmbeddingConfig(negatives="confused", epochs=1, batch_size=32, lr=2e-3, warmup=0.5)
    module = EmbeddingTrainer(LabelRanking(embedding, LABELS, settings, confused))
    val_texts, val_labels = samples(40, seed=2)
    train = TokenDataset(embedding.tokenizer, texts, labels, 24)
    val = TokenDataset(embedding.tokenizer, val_texts, val_labels, 24)
    watch = Watch()
    trainer = build_trainer(
        TrainerConfig(accelerator="cpu", precision="32-true", progress=False),
        "embedding",
        tmp_path_factory.mktemp("embedding"),
        epochs=1,
        monitor="embedding/val_acc",
        callbacks=[watch],
    )
    trainer.fit(module, loader(train, 32, seed=0), loader(val, 7))
    return SimpleNamespace(
        module=module, embedding=embedding, trainer=trainer, watch=watch, val=(val_texts, torch.tensor(val_labels))
    )


def test_metrics_have_their_names(fitted):
    assert {"embedding/train_loss", "embedding/val_acc"} <= set(fitted.trainer.callback_metrics)


def test_val_acc_is_the_share_of_texts_nearest_to_their_own_label(fitted):
    texts, labels = fitted.val
    nearest = core.label_similarity(encode(fitted.embedding, texts), encode(fitted.embedding, LABELS)).argmax(-1)
    accuracy = (nearest == labels).double().mean().item()
    assert fitted.trainer.callback_metrics["embedding/val_acc"].item() == pytest.approx(accuracy)


def test_the_embedding_is_trained_in_place(fitted, tiny_bert):
    pristine = load_embedding(str(tiny_bert)).state_dict()
    assert any(not torch.equal(value, pristine[name]) for name, value in fitted.embedding.state_dict().items())


def test_labels_are_encoded_once_per_validation(fitted):
    assert fitted.watch.encoded == 1  # for six batches


def test_the_rate_warms_up_and_dropout_is_on(fitted):
    assert fitted.watch.rates == [pytest.approx([2e-3 * factor]) for factor in (0, 0.5, 1, 0.5)]
    assert fitted.watch.dropping
    assert all(fitted.watch.dropping)


def test_the_checkpoint_is_the_weights_alone(fitted):
    saved = torch.load(fitted.trainer.checkpoint_callback.best_model_path, weights_only=True)
    assert set(saved["state_dict"]) == set(fitted.module.state_dict())
    assert saved["optimizer_states"] == []
    assert not any("confused" in name for name in saved["state_dict"])


@pytest.mark.parametrize(
    ("changed", "epochs"),
    [
        ({"epochs": 3}, 3),
        ({"epochs": 3, "negatives": "batch", "gradient_clip": 0.01, "encoder_dropout": 0.3}, 3),
        ({"epochs": 3, "negatives": "confused", "k": 2, "weight_decay": 0.1}, 3),
        ({"epochs": 9, "lr": 5e-2, "patience": 1}, None),  # diverges, so that the best epoch is not the last
    ],
)
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_plain_loop_gives_the_same_weights(changed, epochs, precision, tiny_bert, tmp_path, monkeypatch):
    """The one recipe holds in both drivers: steps, schedule, clipping, best epoch and patience, bit for bit."""
    monkeypatch.setattr("lrsl.embedding.finetuning.native_precision", lambda _: precision)  # whatever the machine
    settings = EmbeddingConfig(
        pretrained=str(tiny_bert), **{"batch_size": 32, "lr": 2e-3, "warmup": 0.25, "max_length": 24, **changed}
    )
    train, val = (Split([str(i) for i in range(n)], *samples(n, seed=n)) for n in (150, 61))
    labels = torch.tensor(train.labels)
    logits = torch.randn(150, 4, generator=torch.Generator().manual_seed(1))
    plain, accuracies = finetuned(
        configured_embedding(settings),
        LABELS,
        (train.texts, labels, logits),
        (val.texts, torch.tensor(val.labels)),
        settings,
        seed=5,
    )
    assert len(accuracies) == epochs if epochs else len(accuracies) < 9

    confused = confused_labels(logits, labels, settings) if settings.negatives == "confused" else None
    module = EmbeddingTrainer(LabelRanking(configured_embedding(settings), LABELS, settings, confused))
    measured = Measured()
    trainer = build_trainer(
        TrainerConfig(accelerator="cpu", precision=precision, progress=False),
        "embedding",
        tmp_path,
        epochs=settings.epochs,
        monitor="embedding/val_acc",
        patience=settings.patience,
        callbacks=[measured],
    )
    pl.seed_everything(5, verbose=False)
    trainer.fit(module, module.recipe.training(train, 5), module.recipe.validation(val))
    load_best(module, Path(best_checkpoint(trainer)))

    assert measured.accuracies == pytest.approx(accuracies)
    driven = module.ranking.embedding.state_dict()
    assert driven.keys() == plain.state_dict().keys()
    for name, weight in plain.state_dict().items():
        assert torch.equal(driven[name], weight), name
