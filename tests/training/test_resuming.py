"""A training that ends at any step, and comes to the same when it is taken up."""

import shutil
from pathlib import Path

import pytest
import pytorch_lightning as pl
import tiny
import torch

from lrsl.classifiers.encoder import EncoderClassifier
from lrsl.config.schema import ModelConfig, TrainerConfig
from lrsl.data.corpus import Split
from lrsl.nn.batches import loader
from lrsl.nn.dropout import quicken
from lrsl.nn.kept import STATE, Kept
from lrsl.nn.pretrained import load_encoder, load_tokenizer
from lrsl.training.classifier import Classifier
from lrsl.training.resuming import Resuming
from lrsl.training.trainer import best_checkpoint, build_trainer

CPU = TrainerConfig(accelerator="cpu", precision="32-true", progress=False)
EPOCHS, STEPS = 3, 2
TEXTS, GOLD = tiny.samples(STEPS * 16 - 5)
SPLIT = Split(ids=list(map(str, range(len(TEXTS)))), texts=TEXTS, labels=GOLD)


class Killed(BaseException):
    """What ends a process."""


class KillAt(pl.Callback):
    """Ends a training when it begins a step, counted from 1, and lets every state get to the disk."""

    def __init__(self, step: int, kept: Kept) -> None:
        self.left, self.kept = step, kept

    def on_train_batch_start(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed

    def on_train_batch_end(self, *_: object) -> None:
        self.kept.wait()


class Rows(pl.loggers.Logger):
    """What was logged."""

    name, version = "rows", ""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[dict[str, float], int]] = []

    def log_metrics(self, metrics, step=None):
        self.rows.append((dict(metrics), step))

    def log_hyperparams(self, *_, **__):
        pass


@pytest.fixture
def train(tiny_bert, tmp_path):
    """Return a function that trains, perhaps to an end before its time, and returns what came of it."""

    def fit(place: Path, kill_at: int = 0, *, minutes: float = 0.0, patience: int = 9, stop_after=None, freezes=False):
        pl.seed_everything(3, workers=True, verbose=False)
        settings = ModelConfig(epochs=EPOCHS, batch_size=16, lr=3e-3, head_lr=1e-2)
        encoder = quickened(load_encoder(str(tiny_bert)))
        encoder.requires_grad_(not freezes)
        network = EncoderClassifier(encoder, load_tokenizer(str(tiny_bert)), 4, settings)
        module = Classifier(network, settings, 4)
        kept = Kept(place, "classifier", minutes=minutes)
        resuming, rows = Resuming(kept, stop_after or EPOCHS), Rows()
        scratch = tmp_path / f"scratch{len(list(tmp_path.glob('scratch*')))}"
        trainer = build_trainer(
            CPU,
            "classifier",
            scratch,
            epochs=EPOCHS,
            monitor=None if stop_after else "val/acc",
            patience=patience,
            stop_after=stop_after,
            logger=rows,
            callbacks=[KillAt(kill_at, kept)],
            resuming=resuming,
        )
        trainer.log_every_n_steps = 1
        validation = None if stop_after else loader(network.samples(SPLIT))
        resuming.fit(trainer, module, loader(network.samples(SPLIT), 16, seed=3), validation)
        weights = {name: value.clone() for name, value in module.state_dict().items()}
        best = None if stop_after else torch.load(best_checkpoint(trainer), weights_only=True)
        return weights, best, rows.rows, trainer.global_step

    return fit


def quickened(network):
    quicken(network)
    return network


def assert_same(one, other):
    for name, value in one[0].items():
        assert torch.equal(value, other[0][name]), name
    if one[1] is not None:
        assert one[1]["epoch"] == other[1]["epoch"]
        for name, value in one[1]["state_dict"].items():
            assert torch.equal(value, other[1]["state_dict"][name]), name
    assert one[2:] == other[2:]


def test_it_comes_to_the_same_from_wherever_it_is_taken_up(train, tmp_path, capsys):
    whole = train(tmp_path / "whole", minutes=99)
    assert (tmp_path / "whole").exists() is False  # too short to keep anything
    assert whole[3] == EPOCHS * STEPS
    for step in range(2, EPOCHS * STEPS + 1):
        place = tmp_path / f"killed{step}"
        with pytest.raises(Killed):
            train(place, step)
        capsys.readouterr()
        assert_same(whole, train(place))
        epoch, within = divmod(step - 2, STEPS)  # what was kept when the last step but one began
        if step > 2:
            how = "within" if within else "at"
            assert capsys.readouterr().out == f"continuing classifier {how} epoch {epoch + 1} of {EPOCHS}\n"


def test_it_may_be_killed_again_and_again(train, tmp_path):
    for _ in range(2):
        with pytest.raises(Killed):
            train(tmp_path / "place", 4)
    assert_same(train(tmp_path / "whole", minutes=99), train(tmp_path / "place"))


def test_what_was_trained_to_its_end_is_not_trained_again(train, tmp_path):
    for number, options in enumerate([{}, {"patience": 1}, {"stop_after": 2}]):
        whole = train(tmp_path / f"place{number}", **options)
        assert_same(whole, train(tmp_path / f"place{number}", kill_at=1, **options))  # no step is begun


def test_a_damaged_state_is_thrown_away(train, tmp_path, capsys):
    whole = train(tmp_path / "whole", minutes=99)
    with pytest.raises(Killed):
        train(tmp_path / "killed", 5)
    capsys.readouterr()
    for number, name in enumerate([STATE, "best.ckpt", "kept.json"]):
        place = shutil.copytree(tmp_path / "killed", tmp_path / f"copy{number}")
        (path,) = place.glob(f"*/{name}")
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))
        assert_same(whole, train(place, minutes=99))
        assert capsys.readouterr().out == "what was kept of the classifier is damaged; its training starts anew\n"


def test_what_is_frozen_is_not_kept(train, tmp_path):
    whole = train(tmp_path / "whole", minutes=99, freezes=True)
    with pytest.raises(Killed):
        train(tmp_path / "killed", 5, freezes=True)
    (path,) = (tmp_path / "killed").glob(f"*/{STATE}")
    state = torch.load(path, weights_only=True)
    assert state["lrsl"]["step"] == 1
    assert [name for name in state["state_dict"] if not name.startswith("network.head.")] == []
    assert_same(whole, train(tmp_path / "killed", freezes=True))
