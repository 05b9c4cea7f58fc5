"""A run in Weights & Biases.

It never asks a question and never holds anything up: without a key or a network it is written to disk, and a sentence
says how to upload it later.
"""

from __future__ import annotations

import http.client
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from lrsl.config.schema import Config, LoggerConfig
from lrsl.errors import InputError, nearest
from lrsl.masking import masked, masked_command, without_credentials
from lrsl.text import cell
from lrsl.tracking.masking import plain

if TYPE_CHECKING:
    import wandb

_CONNECT_SECONDS = 3.0  # a host that has not answered by then counts as unreachable
_INIT_SECONDS = 8.0  # the same for starting an online run
_FINISH_SECONDS = 10.0  # what is not uploaded by then stays on disk
_STOP_SECONDS = 1.5  # the same for a run that was told to stop
_UPLOAD_SECONDS = 120.0  # the same where the files of models are uploaded
_FLUSH_SECONDS = 1.0  # what has been logged for longer is on disk, whatever becomes of the process
_LONGEST_TAG = 64  # W&B refuses longer ones
_MODES = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}


@dataclass(frozen=True)
class Filed:
    """What a run is filed under.

    Attributes:
        group: what it stands beside.
        job_type: which part of the group it is.
        name: what it is called.
        tags: to find it by; longer ones than W&B takes are cut.
        config: plain data without secrets.
        artifacts: the name of its artifacts, before their kind.
    """

    group: str
    job_type: str
    name: str
    tags: Sequence[str]
    config: dict[str, Any]
    artifacts: str = ""


def filed(config: Config) -> Filed:
    """Return what a run of a configuration is filed under: grouped by data set and model, its seed the job."""
    dataset, model = config.dataset.name, config.model.name
    return Filed(
        group=f"{dataset}/{model}",
        job_type=f"seed{config.seed}",
        name=f"{dataset}-{model}-seed{config.seed}",
        tags=[dataset, model, config.embedding.name, *config.logger.tags],
        config=plain(config),
        artifacts=re.sub(r"[^\w.-]+", "_", f"{dataset}-{model}"),
    )


class WandbRun:
    """A run in W&B.

    Args:
        settings: project, entity and mode.
        about: what it is filed under.
        folder: W&B writes to `<folder>/wandb`.
    """

    shows_images = True

    def __init__(self, settings: LoggerConfig, about: Filed, folder: Path) -> None:
        self._settings = settings
        self._about = about
        self._folder = folder
        self._run: wandb.Run | None = None
        self._mode = ""

    def start(self) -> Logger:
        """Start the run and return what Trainers log to."""
        self._mode = _wanted_mode(self._settings)
        self.shows_images = self._mode != "disabled"
        import wandb  # noqa: PLC0415  (slow, and the other loggers must do without it)

        # Silent also means that W&B cannot prompt: it has no terminal then.
        library = wandb.setup(wandb.Settings(silent=True))
        obstacle = ""
        if self._mode == "auto":
            obstacle = _why_offline(library.settings.base_url)
            self._mode = "offline" if obstacle else "online"
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._mode == "online" and not _answers(library.settings.base_url):
            obstacle = f"{without_credentials(library.settings.base_url)} does not answer"
            self._mode = "offline"
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
        return WandbLogger(save_dir=str(self._folder), project=self._settings.project, experiment=self._run)

    def summary(self, metrics: Mapping[str, float | int | str]) -> None:
        """Log what the run comes down to."""
        if self._run is not None:
            self._run.summary.update(dict(metrics))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Log a table, which W&B also gives as CSV: no cell of it is computed by a spreadsheet."""
        import wandb  # noqa: PLC0415

        if self._run is not None:
            self._run.log(
                {name: wandb.Table(columns=[*columns], data=[[cell(value) for value in row] for row in rows])}
            )

    def images(self, images: Mapping[str, Path]) -> None:
        """Log image files by name, all at one step."""
        import wandb  # noqa: PLC0415

        if self._run is not None and images:
            self._run.log({name: wandb.Image(str(path)) for name, path in images.items()})

    def artifact(self, kind: str, files: Mapping[str, Path], metadata: Mapping[str, Any]) -> None:
        """Upload files as a version of the artifact `<dataset>-<model>-<kind>`, whose alias is the job type."""
        import wandb  # noqa: PLC0415

        if self._run is None:
            return
        artifact = wandb.Artifact(f"{self._about.artifacts}-{kind}", type=kind, metadata=masked(metadata))
        for name, path in files.items():
            artifact.add_file(str(path), name=name)
        self._run.log_artifact(artifact, aliases=["latest", self._about.job_type])

    def finish(self, status: int) -> None:
        """End the run; where it is on disk only, say how to upload it.

        One that was told to stop waits a little only for what is not uploaded, which stays on disk.
        """
        run, self._run = self._run, None
        if run is None:
            return
        on_disk = Path(run.dir).parent
        remaining = self._mode == "offline"
        try:
            if status <= 128:
                run.finish(exit_code=status)
            else:
                run.summary["stopped_by"] = signal.Signals(status - 128).name
                finishing = threading.Thread(target=lambda: run.finish(exit_code=status), daemon=True)
                finishing.start()
                finishing.join(_STOP_SECONDS)
        except Exception as error:  # the training is done; its report must not undo it
            print(f"W&B could not finish the run: {_first_line(error)}.", flush=True)
            remaining = self._mode != "disabled"
        if remaining:
            print(f"To upload this run to W&B: wandb sync {shlex.quote(_from_here(on_disk))}", flush=True)

    def _init(self) -> wandb.Run:
        import wandb  # noqa: PLC0415

        about = self._about
        # our own, or WANDB_RUN_ID would make one run of all seeds; the agent of a W&B sweep has W&B ignore it
        run_id = secrets.token_hex(4)
        try:
            return wandb.init(
                project=self._settings.project,
                entity=self._settings.entity,
                id=run_id,
                group=about.group,
                job_type=about.job_type,
                name=about.name,
                tags=list(dict.fromkeys(tag[:_LONGEST_TAG] for tag in about.tags if tag)),
                config=about.config,
                dir=str(self._folder.absolute()),
                mode=self._mode,  # type: ignore[arg-type]
                reinit="finish_previous",
                settings=wandb.Settings(
                    silent=True,
                    console="off",
                    disable_code=True,
                    disable_git=True,
                    save_code=False,
                    x_disable_meta=masked_command(sys.argv) != sys.argv,  # W&B's metadata hold it as it was typed
                    init_timeout=_INIT_SECONDS,
                    finish_timeout=_UPLOAD_SECONDS if self._settings.artifacts else _FINISH_SECONDS,
                    finish_timeout_raises=True,
                    x_transaction_log_flush_interval=_FLUSH_SECONDS,
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
        has_key = wandb.login(prompt=False, verify=False)
    except wandb.Error:
        return "the API key is malformed"
    if not has_key:
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
    def connect() -> None:
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()

    return _succeeds(connect)


def _answers(url: str) -> bool:
    """Tell whether a server says anything at all, in the time in which it must."""

    def ask() -> None:
        try:
            urllib.request.urlopen(url, timeout=_CONNECT_SECONDS).close()
        except urllib.error.HTTPError:
            pass
        except urllib.error.URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise
        except (http.client.HTTPException, ValueError):
            pass  # it is for W&B to say what is wrong

    return _succeeds(ask)


def _succeeds(attempt: Callable[[], None]) -> bool:
    succeeded = threading.Event()

    def run() -> None:
        try:
            attempt()
        except OSError:
            return
        succeeded.set()

    # In a thread, because looking up a name obeys no timeout.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(_CONNECT_SECONDS)
    return succeeded.is_set()


def _first_line(error: Exception) -> str:
    said = str(error).strip() or type(error).__name__
    return without_credentials(said.splitlines()[0].rstrip(".:"))


def _from_here(path: Path) -> str:
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
