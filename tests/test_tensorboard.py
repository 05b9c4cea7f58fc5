"""What a run leaves in TensorBoard's files, read back with TensorBoard's own reader."""

import sys
from pathlib import Path

import numpy as np
import pytest
from lightning_fabric.loggers import tensorboard as lightning
from PIL import Image
from test_tracking import COLUMNS, ROWS, configuration, fit

from lrsl.errors import InputError
from lrsl.tracking import Tracker

pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(
        str(folder / "tensorboard"), size_guidance={"tensors": 0, "images": 0, "scalars": 0}
    ).Reload()


def text(events: EventAccumulator, name: str) -> str:
    (event,) = events.Tensors(f"{name}/text_summary")
    return event.tensor_proto.string_val[0].decode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    image = folder / "image.png"
    Image.fromarray(np.full((4, 6, 3), 200, dtype=np.uint8)).save(image)
    for _ in range(2):  # a rerun replaces
        with Tracker(configuration(1, name="tensorboard"), folder) as tracker:
            fit(tracker, "")
            fit(tracker, "embedding/")
            tracker.summary({"test/origin_acc": 0.75, "n_test": 8, "status": "finished"})
            tracker.table("hard_samples", COLUMNS, [*ROWS, ["a|b", "two\nlines", "x", 0.0]])
            tracker.images({"figures/one": image})
    return folder


@pytest.fixture(scope="module")
def events(folder: Path) -> EventAccumulator:
    return read(folder)


def test_both_fits_and_the_summary_are_scalars(events: EventAccumulator) -> None:
    for prefix in ("", "embedding/"):
        assert [event.step for event in events.Scalars(f"{prefix}loss")] == [0, 1]
        assert [event.value for event in events.Scalars(f"{prefix}val_acc")] == [1.0]
    assert [event.value for event in events.Scalars("test/origin_acc")] == [0.75]
    assert "hp_metric" not in events.Tags()["scalars"]
    assert text(events, "status") == "finished"


def test_the_table_is_markdown(events: EventAccumulator) -> None:
    lines = text(events, "hard_samples").splitlines()
    assert lines[0] == "| id | text | origin | hardness |"
    assert lines[2] == "| test-1 | wo ist das Geld, größer? | card_arrival | 0.25 |"
    assert lines[4] == "| a\\|b | two lines | x | 0.0 |"


def test_the_image_is_there(events: EventAccumulator) -> None:
    (image,) = events.Images("figures/one")
    assert (image.width, image.height) == (6, 4)


def test_the_configuration_is_there_without_secrets(folder: Path, events: EventAccumulator) -> None:
    assert "https://***@example.org/a.csv?token=***&n=1" in text(events, "configuration")
    assert "_hparams_/session_start_info" in events.summary_metadata
    for file in folder.rglob("*"):
        assert file.is_dir() or b"hunter2" not in file.read_bytes()


def test_without_the_package_one_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lightning, "_TENSORBOARD_AVAILABLE", False)
    monkeypatch.setattr(lightning, "_TENSORBOARDX_AVAILABLE", False)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=r"pip install 'lrsl\[tensorboard\]'"):
        Tracker(configuration(name="tensorboard"), tmp_path).__enter__()


def test_texts_are_no_markdown() -> None:
    from lrsl.tracking.tensorboard_run import _literal

    assert _literal("a_b 3 < 4") == "a_b 3 &lt; 4"
    assert _literal("*bold* _so_ [x](y) `c` \\ &amp; <b>") == (r"\*bold\* \_so\_ \[x\](y) \`c\` \\ &amp;amp; &lt;b>")
