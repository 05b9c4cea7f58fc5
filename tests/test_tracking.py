import csv
import gc
import importlib
import re
import socket
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from wandb_offline import OfflineRun, offline_runs

from lrsl.config.schema import Config, DatasetConfig, DownloadConfig, EmbeddingConfig, LoggerConfig, ModelConfig
from lrsl.errors import InputError
from lrsl.tracking import Tracker, masked, wandb_run

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),  # Lightning with a newer torch
]

KEY = "f00dfeed" * 5  # of the length W&B asks for
COLUMNS = ["id", "text", "origin", "hardness"]
ROWS = [["test-1", "wo ist das Geld, größer?", "card_arrival", 0.25], ["test-2", "never, ever", "lost_card", 1.5]]


class Line(pl.LightningModule):
    """Fits a line for two steps and logs under a prefix."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self.prefix = prefix
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: Tensor) -> Tensor:
        loss = self.layer(batch).square().mean()
        self.log(f"{self.prefix}loss", loss, on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch: Tensor) -> None:
        self.log(f"{self.prefix}val_acc", batch.mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(tracker: Tracker, prefix: str) -> None:
    trainer = pl.Trainer(
        max_steps=2,
        accelerator="cpu",
        logger=tracker.logger,
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = torch.utils.data.DataLoader(torch.ones(2, 1), batch_size=1)  # type: ignore[arg-type]
    trainer.fit(Line(prefix), data, data)


def whole_run(config: Config, folder: Path) -> None:
    with Tracker(config, folder) as tracker:
        fit(tracker, "")
        fit(tracker, "embedding/")
        tracker.summary({"test/origin_acc": 0.75, "n_test": 8, "status": "finished"})
        tracker.table("hard_samples", COLUMNS, ROWS)


def configuration(seed: int = 0, **logger: object) -> Config:
    return Config(
        dataset=DatasetConfig(
            name="banking77",
            label_texts={"lost_password": "I lost my password"},
            download={"a.csv": DownloadConfig("https://me:hunter2@example.org/a.csv?token=abc&n=1", "0" * 64)},
        ),
        model=ModelConfig(name="bert"),
        embedding=EmbeddingConfig(name="minilm"),
        logger=LoggerConfig(**{"tags": ["paper"], **logger}),  # type: ignore[arg-type]
        seed=seed,
        data_dir="/data/local",
    )


def pristine(patch: pytest.MonkeyPatch, home: Path, **environment: str) -> None:
    """Make this a machine on which nobody has ever used W&B, and have W&B forget what it has read."""
    import wandb

    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "NETRC", "http_proxy", "https_proxy", "all_proxy"):
        patch.delenv(name, raising=False)
        patch.delenv(name.upper(), raising=False)
    folders = {"HOME": home, "WANDB_CONFIG_DIR": home, "WANDB_CACHE_DIR": home, "WANDB_DATA_DIR": home}
    for name, value in {**folders, **environment}.items():
        patch.setenv(name, str(value))
    wandb.teardown()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    import wandb

    pristine(monkeypatch, tmp_path / "home")
    yield monkeypatch
    wandb.teardown()


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two seeds and a failing third, tracked in one process with a key in the environment."""
    import wandb

    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        pristine(patch, folder / "home", WANDB_MODE="offline", WANDB_API_KEY=KEY, WANDB_RUN_ID="same-for-all")
        secret = ["dataset.train=https://me:hunter2@example.org/train.csv", "+reranker.view.api_key=hunter2"]
        for seed in (0, 1):
            patch.setattr(sys, "argv", ["run.py", secret[seed]])
            whole_run(configuration(seed), folder / f"run{seed}")
        with pytest.raises(RuntimeError, match="out of memory"), Tracker(configuration(2), folder / "run2"):
            raise RuntimeError("out of memory")
        assert len(offline_runs(folder)) == 3
        yield folder
    wandb.teardown()


@pytest.fixture(scope="module")
def run(sweep: Path) -> OfflineRun:
    return offline_runs(sweep / "run1")[0]


def test_each_seed_is_a_run_of_its_own(sweep: Path) -> None:
    runs = offline_runs(sweep)
    assert [r.job_type for r in runs] == ["seed0", "seed1", "seed2"]
    assert len({r.id for r in runs}) == 3
    assert [r.folder.parent.parent.name for r in runs] == ["run0", "run1", "run2"]


def test_a_run_is_filed_under_dataset_model_and_seed(run: OfflineRun) -> None:
    assert (run.project, run.group, run.job_type) == ("lrsl", "banking77/bert", "seed1")
    assert run.name == "banking77-bert-seed1"
    assert sorted(run.tags) == ["banking77", "bert", "minilm", "paper"]


def test_the_exit_code_tells_failed_runs(sweep: Path) -> None:
    assert [r.exit_code for r in offline_runs(sweep)] == [0, 0, 1]


def test_the_resolved_configuration_is_there_without_secrets(run: OfflineRun) -> None:
    assert run.config["seed"] == 1
    assert run.config["model"]["name"] == "bert"
    assert run.config["reranker"]["k"] == 3
    assert run.config["data_dir"] == "/data/local"
    assert run.config["dataset"]["label_texts"] == {"lost_password": "I lost my password"}
    assert run.config["dataset"]["download"]["a.csv"]["url"] == "https://***@example.org/a.csv?token=***&n=1"


def test_both_fits_are_in_the_history(run: OfflineRun) -> None:
    for prefix in ("", "embedding/"):
        assert len(run.column(f"{prefix}loss")) == 2
        assert run.column(f"{prefix}val_acc") == [1.0]
        steps = [row["trainer/global_step"] for row in run.history if f"{prefix}loss" in row]
        assert steps == [0, 1]
    inner = run.column("_step")
    assert inner == sorted(set(inner))


def test_the_summary_has_what_the_run_comes_down_to(run: OfflineRun) -> None:
    assert run.summary["test/origin_acc"] == 0.75
    assert run.summary["n_test"] == 8
    assert run.summary["status"] == "finished"
    assert run.summary["embedding/val_acc"] == 1.0


def test_the_table_has_the_columns_and_rows_it_was_given(run: OfflineRun) -> None:
    assert run.table("hard_samples")["columns"] == COLUMNS
    assert run.table("hard_samples")["data"] == ROWS


def test_no_secret_is_in_any_file(sweep: Path) -> None:
    files = [file for file in sweep.rglob("*") if file.is_file()]
    assert any(file.suffix == ".wandb" for file in files)
    for file in files:
        content = file.read_bytes()
        assert KEY.encode() not in content, file
        assert b"hunter2" not in content, file


def test_neither_code_nor_git_state_is_stored(sweep: Path) -> None:
    assert not [file for file in sweep.rglob("*") if file.suffix in (".py", ".patch")]


def test_an_offline_run_says_how_to_sync(
    tmp_path: Path, machine: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    machine.chdir(tmp_path)
    with Tracker(configuration(mode="offline"), tmp_path / "my runs"):
        pass
    printed = capfd.readouterr()
    (written,) = offline_runs(tmp_path)
    assert printed.out == f"To upload this run to W&B: wandb sync '{written.folder.relative_to(tmp_path)}'\n"
    assert printed.err == ""


def test_a_finished_run_is_let_go(tmp_path: Path, machine: pytest.MonkeyPatch) -> None:
    loggers, experiments = [], []
    for seed in range(3):
        with Tracker(configuration(seed, mode="offline"), tmp_path) as tracker:
            loggers.append(weakref.ref(tracker.logger))
            experiments.append(weakref.ref(tracker.logger.experiment))
        gc.collect()
        assert loggers[-1]() is None
    assert [reference() for reference in experiments[:2]] == [None, None]  # W&B itself holds on to the latest
    assert len(offline_runs(tmp_path)) == 3


def test_an_upload_that_does_not_end_is_no_failure(
    tmp_path: Path, machine: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import wandb

    finish = wandb.Run.finish

    def slow(run: "wandb.Run", exit_code: int) -> None:
        finish(run, exit_code)
        raise TimeoutError("Timed out finishing run.")

    machine.setattr(wandb.Run, "finish", slow)
    with Tracker(configuration(mode="offline"), tmp_path):
        pass
    printed = capfd.readouterr().out
    assert "W&B could not finish the run: Timed out finishing run." in printed
    assert "wandb sync" in printed


def test_without_a_key_auto_is_offline(
    tmp_path: Path, machine: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    machine.setattr(wandb_run, "_connects", lambda host, port: pytest.fail("no key, so no reason to connect"))
    whole_run(configuration(), tmp_path / "run")
    assert "W&B writes to disk only: there is no API key" in capfd.readouterr().out
    assert len(offline_runs(tmp_path)) == 1


def test_online_without_a_key_asks_nothing(
    tmp_path: Path, machine: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

        def __getattr__(self, name: str) -> object:
            pytest.fail(f"the terminal was asked: {name}")

    machine.setattr(sys, "stdin", Terminal())
    machine.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Tracker(configuration(mode="online"), tmp_path / "run"):
        pass
    assert "W&B writes to disk only: starting the run failed" in capfd.readouterr().out
    assert len(offline_runs(tmp_path)) == 1


def test_an_unreachable_server_leaves_auto_offline_in_seconds(
    tmp_path: Path, machine: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # taken but not listening
        port = closed.getsockname()[1]
        pristine(machine, tmp_path / "home", WANDB_API_KEY=KEY, WANDB_BASE_URL=f"http://127.0.0.1:{port}")
        start = time.monotonic()
        with Tracker(configuration(), tmp_path / "run"):
            pass
    assert time.monotonic() - start < 10
    printed = capfd.readouterr().out
    assert f"W&B writes to disk only: 127.0.0.1:{port} cannot be reached." in printed
    assert KEY not in printed
    assert len(offline_runs(tmp_path)) == 1
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and KEY.encode() in file.read_bytes()]


def test_a_server_that_refuses_leaves_the_run_offline(
    tmp_path: Path, machine: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_error(401)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *arguments: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        pristine(machine, tmp_path / "home", WANDB_API_KEY=KEY, WANDB_BASE_URL=f"http://127.0.0.1:{server.server_port}")
        whole_run(configuration(), tmp_path / "run")
        server.shutdown()
    printed = capfd.readouterr().out
    assert "W&B writes to disk only: starting the run failed" in printed
    assert "wandb sync" in printed
    (written,) = offline_runs(tmp_path)
    assert written.exit_code == 0
    assert [folder.name for folder in (tmp_path / "run" / "wandb").glob("*run-*-*")] == [written.folder.name]


def test_a_malformed_key_is_not_shown(
    tmp_path: Path, machine: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pristine(machine, tmp_path / "home", WANDB_API_KEY="not a key")
    with Tracker(configuration(), tmp_path / "run"):
        pass
    printed = capfd.readouterr().out
    assert "the API key is malformed" in printed
    assert "not a key" not in printed


def test_wandb_mode_wins_over_auto(
    tmp_path: Path, machine: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pristine(machine, tmp_path / "home", WANDB_MODE="disabled", WANDB_API_KEY=KEY)
    whole_run(configuration(), tmp_path / "run")
    assert capfd.readouterr().out == ""
    assert list(tmp_path.rglob("*.wandb")) == []
    with Tracker(configuration(mode="offline"), tmp_path / "run"):
        pass
    assert len(offline_runs(tmp_path)) == 1


def test_an_unknown_wandb_mode_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(InputError, match=r"WANDB_MODE=ofline is unknown; .*did you mean 'offline'"):
        Tracker(configuration(), tmp_path).__enter__()


def test_a_project_name_wandb_does_not_take_is_an_error(tmp_path: Path, machine: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"logger: .*project name 'a/b'"):
        Tracker(configuration(mode="offline", project="a/b"), tmp_path).__enter__()


def test_tags_of_any_length_are_taken(tmp_path: Path, machine: pytest.MonkeyPatch) -> None:
    with Tracker(configuration(mode="offline", tags=["", "x" * 100, "bert"]), tmp_path):
        pass
    (written,) = offline_runs(tmp_path)
    assert sorted(written.tags) == ["banking77", "bert", "minilm", "x" * 64]


def test_a_silent_name_server_costs_no_more_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def silent(*_: object, **__: object) -> None:
        released.wait(5)
        raise OSError

    monkeypatch.setattr(wandb_run, "_CONNECT_SECONDS", 0.1)
    monkeypatch.setattr(socket, "getaddrinfo", silent)
    start = time.monotonic()
    assert not wandb_run._connects("api.example.org", 443)
    assert time.monotonic() - start < 3
    released.set()


@pytest.mark.parametrize(
    ("proxies", "address"),
    [
        ({}, ("api.example.org", 443)),
        ({"https_proxy": "http://proxy:3128"}, ("proxy", 3128)),
        ({"all_proxy": "proxy:3128"}, ("proxy", 3128)),
        ({"http_proxy": "http://proxy:3128"}, ("api.example.org", 443)),
        ({"https_proxy": "http://proxy:3128", "no_proxy": "example.org"}, ("api.example.org", 443)),
    ],
)
def test_a_proxy_is_what_must_be_reachable(
    machine: pytest.MonkeyPatch, proxies: dict[str, str], address: tuple[str, int]
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        machine.delenv(name, raising=False)
    for name, value in proxies.items():
        machine.setenv(name, value)
    assert wandb_run._address("https://api.example.org") == address


def test_masked() -> None:
    plain = {
        "api_key": "x",
        "hubToken": "x",
        "db-password": ["x"],
        "tokenizer": "bert",
        "monkey": "x",
        "token": None,
        "inner": [{"secret": "x"}, "s3://u:p@host/a?X-Amz-Signature=x&key=1&page=2", ("a@b.org", 3, 0.5)],
    }
    assert masked(plain) == {
        "api_key": "***",
        "hubToken": "***",
        "db-password": "***",
        "tokenizer": "bert",
        "monkey": "x",
        "token": None,
        "inner": [{"secret": "***"}, "s3://***@host/a?X-Amz-Signature=***&key=***&page=2", ["a@b.org", 3, 0.5]],
    }


def test_csv_needs_no_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if re.match(r"(wandb|lrsl\.tracking)(\.|$)", name)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it is an error now
    module = importlib.import_module("lrsl.tracking")
    with module.Tracker(configuration(name="csv"), tmp_path) as tracker:
        fit(tracker, "")
        tracker.summary({"test/origin_acc": 0.75})
    assert (tmp_path / "metrics.csv").exists()


def test_csv_files_stand_in_the_run_folder_and_a_rerun_replaces_them(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for _ in range(2):
        whole_run(configuration(name="csv"), folder)
        (folder / "results.json").touch()
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        metrics = list(csv.DictReader(file))
    for name, times in {"loss": 2, "val_acc": 1, "embedding/loss": 2, "embedding/val_acc": 1}.items():
        assert sum(row[name] != "" for row in metrics) == times
    (last,) = [row for row in metrics if row["test/origin_acc"]]
    assert (last["test/origin_acc"], last["n_test"], last["status"]) == ("0.75", "8", "finished")
    with (folder / "hard_samples.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [COLUMNS, *[[str(cell) for cell in row] for row in ROWS]]


def test_csv_keeps_what_was_logged_before_a_failure(tmp_path: Path) -> None:
    def fail(tracker: Tracker) -> None:
        with tracker:
            tracker.logger.log_metrics({"loss": 2.0}, step=0)
            raise RuntimeError("out of memory")

    tracker = Tracker(configuration(name="csv"), tmp_path)
    with pytest.raises(RuntimeError, match="out of memory"):
        fail(tracker)
    assert "2.0" in (tmp_path / "metrics.csv").read_text(encoding="utf-8")
    assert not hasattr(tracker, "logger")
