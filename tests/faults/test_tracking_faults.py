"""Tracking that fails, hangs or is killed, and a run that changes how torch computes: nothing of it reaches results."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.loggers import Logger
from wandb_offline import read_run

from lrsl import tracking
from lrsl.config.schema import Config, LoggerConfig
from lrsl.errors import InputError
from lrsl.nn import process_state
from lrsl.tracking import Tracker, wandb_run

ROOT = Path(__file__).parents[2]
KEY = "f00dfeed" * 5  # of the length W&B asks for


def configuration(tiny_corpus: Path, tiny_bert: Path, **logger: Any) -> Config:
    import tiny

    config = tiny.config(tiny_corpus, tiny_bert)
    config.logger = LoggerConfig(**logger)
    return config


@pytest.fixture
def silent_server() -> Iterator[int]:
    """The port of a server that takes every connection and never says anything."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield server.getsockname()[1]


def log_everything(tracker: Tracker, tmp_path: Path) -> None:
    if tracker.logger is not None:
        tracker.logger.log_metrics({"loss": 1.0}, step=0)
        tracker.logger.save()
    tracker.summary({"test/origin_acc": 0.5})
    tracker.table("hard_samples", ["id"], [["test-1"]])
    (tmp_path / "file").write_text("x")
    tracker.artifact("classifier", {"file": tmp_path / "file"}, {})


def test_a_file_where_wandb_wants_its_folder_costs_the_tracking_and_nothing_else(
    tiny_corpus: Path, tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "wandb").write_text("mine")
    with Tracker(configuration(tiny_corpus, tiny_bert, mode="offline"), folder) as tracker:
        assert tracker.logger is None
        assert not tracker.shows_images
        log_everything(tracker, tmp_path)
    assert (folder / "wandb").read_text() == "mine"
    printed = capsys.readouterr().out
    assert printed.count("\n") == printed.count("The run is not tracked any further") == 1


class Failing:
    """A way of tracking in which something fails."""

    shows_images = True

    def __init__(self, at: str) -> None:
        self.at = at
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*_: Any, **__: Any) -> Any:
            self.calls.append(name)
            if name == self.at:
                raise OSError(28, "No space left on device")
            return Log(self) if name == "start" else None

        return call


class Log(Logger):
    """What Trainers log to."""

    def __init__(self, run: Failing) -> None:
        super().__init__()
        self.run = run

    name = version = "log"

    def log_metrics(self, metrics: Any, step: Any = None) -> None:
        self.run.log_metrics()

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None: ...

    def save(self) -> None:
        self.run.save()


@pytest.mark.parametrize("at", ["start", "log_metrics", "save", "summary", "table", "artifact", "finish"])
def test_whatever_fails_in_tracking_is_a_line_and_the_last_call(
    tiny_corpus: Path,
    tiny_bert: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    at: str,
) -> None:
    failing = Failing(at)
    monkeypatch.setattr(tracking, "_run", lambda *_: failing)
    with Tracker(configuration(tiny_corpus, tiny_bert), tmp_path) as tracker:
        log_everything(tracker, tmp_path)
        log_everything(tracker, tmp_path)
    assert failing.calls.count(at) == 1
    assert failing.calls[-1] == "finish"  # what was logged before is worth being kept
    printed = capsys.readouterr().out
    assert printed == "The run is not tracked any further: [Errno 28] No space left on device.\n"


def test_a_wrong_setting_is_an_error_all_the_same(
    tiny_corpus: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise InputError("no such project")

    monkeypatch.setattr(tracking, "_run", lambda *_: SimpleNamespace(start=refuse))
    with pytest.raises(InputError, match="no such project"):
        Tracker(configuration(tiny_corpus, tiny_bert), tmp_path).__enter__()


def test_an_error_of_the_run_passes_through_and_ends_it_as_failed(
    tiny_corpus: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []
    made = Failing("nowhere")
    made.finish = ended.append
    monkeypatch.setattr(tracking, "_run", lambda *_: made)
    with pytest.raises(ZeroDivisionError), Tracker(configuration(tiny_corpus, tiny_bert), tmp_path):
        raise ZeroDivisionError
    assert ended == [1]


@pytest.mark.parametrize("mode", ["auto", "online"])
def test_a_server_that_never_answers_costs_seconds_per_run(
    tiny_corpus: Path,
    tiny_bert: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    silent_server: int,
    mode: str,
) -> None:
    import wandb

    monkeypatch.setattr(wandb_run, "_CONNECT_SECONDS", 0.5)
    wandb.teardown()
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent_server}")
    asked: list[str] = []
    init = wandb.init
    monkeypatch.setattr(wandb, "init", lambda **settings: (asked.append(settings["mode"]), init(**settings))[1])
    with Tracker(configuration(tiny_corpus, tiny_bert, mode=mode), tmp_path / "run") as tracker:
        log_everything(tracker, tmp_path)
    wandb.teardown()
    assert asked == ["offline"]  # so that nothing waits for the server any more
    printed = capsys.readouterr().out
    assert f"W&B writes to disk only: http://127.0.0.1:{silent_server} does not answer." in printed
    assert "wandb sync" in printed


def test_a_server_is_waited_for_no_longer_than_is_said(silent_server: int) -> None:
    start = time.monotonic()
    assert not wandb_run._answers(f"http://127.0.0.1:{silent_server}")
    assert time.monotonic() - start < wandb_run._CONNECT_SECONDS + 1
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert wandb_run._answers(f"http://127.0.0.1:{closed.getsockname()[1]}")  # it is for W&B to say that


def test_history_so_far_is_on_disk_when_a_run_is_killed(tiny_corpus: Path, tiny_bert: Path, tmp_path: Path) -> None:
    program = f"""
import os, sys, time
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
os.environ["WANDB_MODE"] = "offline"
from pathlib import Path
import tiny
from lrsl.config.schema import LoggerConfig
from lrsl.tracking import Tracker
config = tiny.config(Path({str(tiny_corpus)!r}), Path({str(tiny_bert)!r}))
config.logger = LoggerConfig(mode="offline")
with Tracker(config, Path({str(tmp_path)!r})) as tracker:
    for step in range(20):
        tracker.logger.log_metrics({{"loss": 1.0 + step}}, step=step)
    print("logged", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        assert run.stdout is not None
        assert "logged\n" in iter(run.stdout.readline, "")
        deadline = time.monotonic() + 60
        found: list[float] = []
        while len(found) < 19 and time.monotonic() < deadline:  # the last one may be waiting for its step to end
            time.sleep(0.2)
            found = [value for file in tmp_path.glob("wandb/*/run-*.wandb") for value in read_run(file).column("loss")]
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    assert found[:19] == [1.0 + step for step in range(19)]


def test_what_a_run_changes_of_torch_and_of_the_process_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()

    def spoil() -> None:
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        torch.set_grad_enabled(False)
        torch.set_num_threads(threads + 1)
        torch.set_float32_matmul_precision("medium")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark
        np.seterr(all="raise")
        os.umask(0o077)
        (tmp_path / "inner").mkdir()
        os.chdir(tmp_path / "inner")
        raise RuntimeError("and then it fails")

    def state() -> tuple[Any, ...]:
        os.umask(mask := os.umask(0))
        return (
            torch.tensor(1.0).dtype,
            torch.tensor(1.0).device.type,
            torch.is_grad_enabled(),
            torch.get_num_threads(),
            torch.get_float32_matmul_precision(),
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.benchmark,
            np.geterr(),
            mask,
            Path.cwd(),
        )

    before = state()
    with pytest.raises(RuntimeError, match="and then it fails"), process_state.restored():
        spoil()
    assert state() == before
