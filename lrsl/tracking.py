"""Where metrics go besides results.json: Weights & Biases, or plain CSV files.

One `Tracker` is one run of one configuration; every Trainer of that run logs through it. W&B never asks a question and
never holds a run up: without a key or a network it writes to disk and says how to upload that later.
"""

from __future__ import annotations

import csv
import os
import re
import secrets
import shlex
import shutil
import socket
import sys
import threading
import urllib.request
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from lrsl.config import Config, LoggerConfig
from lrsl.errors import InputError, nearest

if TYPE_CHECKING:
    import wandb

_CONNECT_SECONDS = 3.0  # a host that has not answered by then counts as unreachable
_INIT_SECONDS = 15.0  # the same for starting an online run
_FINISH_SECONDS = 120.0  # what is not uploaded by then stays on disk
_LONGEST_TAG = 64  # W&B refuses longer ones
_MASK = "***"
_SECRET_WORDS = {
    "key",
    "apikey",
    "token",
    "password",
    "passwd",
    "pwd",
    "secret",
    "credential",
    "credentials",
    "signature",
}
_MODES = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}


class Tracker:
    """A run's metrics, summary and tables, in W&B (`logger=wandb`) or in CSV files (`logger=csv`).

    A context manager: the run starts on entering and is finished on leaving, as failed if an exception passes through.
    Two trackers are two runs, in one process as in two.

    Args:
        config: the run's configuration.
        folder: the run's folder; W&B writes to `<folder>/wandb`, CSV files are `<folder>/metrics.csv` and
            `<folder>/<table>.csv`.

    Attributes:
        logger: what the Trainers of the run log to; there from entering to leaving.

    Raises:
        InputError: on entering, when W&B does not take the project or the entity, or WANDB_MODE is unknown.
    """

    logger: Logger

    def __init__(self, config: Config, folder: Path) -> None:
        self._run: _Run = _WandbRun(config, folder) if config.logger.name == "wandb" else _CsvRun(folder)

    def __enter__(self) -> Tracker:
        self.logger = self._run.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        del self.logger
        self._run.finish(failed=kind is not None)

    def summary(self, metrics: Mapping[str, float | int | str]) -> None:
        """Log what the run comes down to, such as `test/origin_acc`."""
        self._run.summary(metrics)

    def table(self, name: str, columns: list[str], rows: list[list[Any]]) -> None:
        """Log a table, such as the hard samples before and after reranking."""
        self._run.table(name, columns, rows)


def masked(value: Any) -> Any:
    """Return a copy of plain data without its secrets: values under keys such as `api_key`, credentials in URLs."""
    if isinstance(value, Mapping):
        return {key: _MASK if _names_secret(str(key)) and inner else masked(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(inner) for inner in value]
    return _without_credentials(value) if isinstance(value, str) else value


class _Run(Protocol):
    def start(self) -> Logger: ...

    def summary(self, metrics: Mapping[str, float | int | str]) -> None: ...

    def table(self, name: str, columns: list[str], rows: list[list[Any]]) -> None: ...

    def finish(self, *, failed: bool) -> None: ...


class _CsvRun:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._logger: CSVLogger | None = None

    def start(self) -> Logger:
        self._logger = CSVLogger(self._folder, name="", version="")
        with warnings.catch_warnings():  # it warns that it replaces metrics.csv, which is what a rerun should do
            warnings.filterwarnings("ignore", "Experiment logs directory")
            _ = self._logger.experiment
        return self._logger

    def summary(self, metrics: Mapping[str, float | int | str]) -> None:
        if self._logger is not None:
            self._logger.log_metrics(dict(metrics))  # type: ignore[arg-type]  # strings are written as they are

    @rank_zero_only
    def table(self, name: str, columns: list[str], rows: list[list[Any]]) -> None:
        with (self._folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([columns, *rows])

    def finish(self, *, failed: bool) -> None:
        if self._logger is not None:
            self._logger.finalize("failed" if failed else "success")
        self._logger = None


class _WandbRun:
    def __init__(self, config: Config, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self._run: wandb.Run | None = None
        self._mode = ""

    def start(self) -> Logger:
        self._mode = _wanted_mode(self._config.logger)
        import wandb  # noqa: PLC0415  (slow, and logger=csv must do without it)

        # Silent also means that W&B cannot prompt: it has no terminal then.
        library = wandb.setup(wandb.Settings(silent=True))
        obstacle = ""
        if self._mode == "auto":
            obstacle = _why_offline(library.settings.base_url)
            self._mode = "offline" if obstacle else "online"
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._mode == "online":
            try:
                self._run = self._init()
            except Exception as error:
                obstacle = f"starting the run failed: {_first_line(error)}"
                self._mode = "offline"
        if self._run is None:
            self._run = self._init()
        if obstacle:
            print(f"W&B writes to disk only: {obstacle}.", flush=True)
        if self._mode == "online":
            print(f"W&B run: {self._run.url}", flush=True)
        # Each fit counts its steps from 0, so steps are a metric of their own, not W&B's ever-growing one.
        self._run.define_metric("trainer/global_step")
        self._run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        return WandbLogger(save_dir=str(self._folder), project=self._config.logger.project, experiment=self._run)

    def summary(self, metrics: Mapping[str, float | int | str]) -> None:
        if self._run is not None:
            self._run.summary.update(dict(metrics))

    def table(self, name: str, columns: list[str], rows: list[list[Any]]) -> None:
        import wandb  # noqa: PLC0415

        if self._run is not None:
            self._run.log({name: wandb.Table(columns=[*columns], data=rows)})

    def finish(self, *, failed: bool) -> None:
        run, self._run = self._run, None
        if run is None:
            return
        on_disk = Path(run.dir).parent
        remaining = self._mode == "offline"
        try:
            run.finish(exit_code=int(failed))
        except Exception as error:  # the training is done; its report must not undo it
            print(f"W&B could not finish the run: {_first_line(error)}.", flush=True)
            remaining = self._mode != "disabled"
        if remaining:
            print(f"To upload this run to W&B: wandb sync {shlex.quote(_from_here(on_disk))}", flush=True)

    def _init(self) -> wandb.Run:
        import wandb  # noqa: PLC0415

        config = self._config
        dataset, model, embedding = config.dataset.name, config.model.name, config.embedding.name
        tags = [tag[:_LONGEST_TAG] for tag in (dataset, model, embedding, *config.logger.tags) if tag]
        command = dict(argument.partition("=")[::2] for argument in sys.argv)
        run_id = secrets.token_hex(4)  # our own, or WANDB_RUN_ID would make one run of all seeds
        try:
            return wandb.init(
                project=config.logger.project,
                entity=config.logger.entity,
                id=run_id,
                group=f"{dataset}/{model}",
                job_type=f"seed{config.seed}",
                name=f"{dataset}-{model}-seed{config.seed}",
                tags=list(dict.fromkeys(tags)),
                config=_plain(config),
                dir=str(self._folder.absolute()),
                mode=self._mode,  # type: ignore[arg-type]
                reinit="finish_previous",
                settings=wandb.Settings(
                    silent=True,
                    console="off",
                    disable_code=True,
                    disable_git=True,
                    save_code=False,
                    x_disable_meta=masked(command) != command,  # W&B's metadata hold the command line as it was typed
                    init_timeout=_INIT_SECONDS,
                    finish_timeout=_FINISH_SECONDS,
                    finish_timeout_raises=True,
                ),
            )
        except (wandb.errors.UsageError, ValueError) as error:
            if self._mode == "online":
                raise
            reason = " ".join(masked(str(error)).split())
            raise InputError(f"logger: W&B takes no run with these settings ({reason}); correct them") from None
        except Exception:
            for left in (self._folder / "wandb").glob(f"run-*-{run_id}"):
                shutil.rmtree(left, ignore_errors=True)
            raise


def _wanted_mode(logger: LoggerConfig) -> str:
    if rank_zero_only.rank != 0:  # type: ignore[attr-defined]
        return "disabled"
    said = os.environ.get("WANDB_MODE", "")
    if logger.mode != "auto" or not said:
        return logger.mode
    if said not in _MODES:
        known = "online, offline or disabled"
        raise InputError(f"WANDB_MODE={said} is unknown; use {known}{nearest(said, list(_MODES))}")
    return _MODES[said]


def _why_offline(base_url: str) -> str:
    """Return why a run cannot be online, or nothing when it can."""
    import wandb  # noqa: PLC0415

    try:
        found = wandb.login(prompt=False, verify=False)
    except wandb.Error:
        return "the API key is malformed"
    if not found:
        return "there is no API key (wandb login stores one)"
    host, port = _address(base_url)
    return "" if _connects(host, port) else f"{host}:{port} cannot be reached"


def _address(url: str) -> tuple[str, int]:
    """Return the host and port that a request to the URL connects to: the proxy's where there is one."""
    parts = urlsplit(url)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _connects(host: str, port: int) -> bool:
    connected = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
        except OSError:
            return
        connected.set()

    # In a thread, because looking up a name obeys no timeout.
    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(_CONNECT_SECONDS)
    return connected.is_set()


def _plain(config: Config) -> dict[str, Any]:
    plain = asdict(config)
    resolved: dict[str, Any] = masked(plain)
    resolved["dataset"]["label_texts"] = plain["dataset"]["label_texts"]  # a label may well be called lost_password
    return resolved


def _names_secret(key: str) -> bool:
    words = re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower())
    return not _SECRET_WORDS.isdisjoint(words)


def _without_credentials(text: str) -> str:
    text = re.sub(r"(?<=://)[^/\s@]+@", f"{_MASK}@", text)
    return re.sub(
        r"([?&]([^=&\s]+)=)([^&\s]+)", lambda found: found[1] + (_MASK if _names_secret(found[2]) else found[3]), text
    )


def _first_line(error: Exception) -> str:
    said = str(error).strip() or type(error).__name__
    return _without_credentials(said.splitlines()[0].rstrip(".:"))


def _from_here(path: Path) -> str:
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
