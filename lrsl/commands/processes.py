"""The processes of a run that several compute: started on this machine, or found where `torchrun` or `srun` has.

This process leads where nobody started it as another than the first. It reads the command line, and gives the others
one run after the other, as plain data, until there is none left; so a sweep starts them once. Where one fails, the run
ends in all of them within seconds, with the reason of the one that failed first; a sweep goes on with its next run.

    torchrun --nproc-per-node 2 run.py trainer.devices=2
    srun --ntasks-per-node 4 --nodes 2 python run.py trainer.devices=4 trainer.num_nodes=2
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

from lrsl import stopping
from lrsl.commands.watching import (
    COMING,
    SILENT,
    TICK,
    abort,
    look_after,
    reason_elsewhere,
    sentence,
    wait_for_the_rest,
    watching,
)
from lrsl.config.schema import Config
from lrsl.errors import InputError
from lrsl.nn import threads
from lrsl.nn.processes import AnotherFailedError, Together, joined
from lrsl.sweep import journal

FOLLOW = "lrsl.commands.follow"
STARTED_BY = "LRSL_STARTED_BY"
"""The variable by which a process knows the one that has started it."""
HOLD = 5.0  # seconds that a process which does not lead goes on for when it is told to stop
PORT = 15_000  # the lowest port that is taken under Slurm, where nobody names one


@dataclass(frozen=True)
class Place:
    """Which of the processes that were started together this one is, and where they meet.

    Attributes:
        rank: which it is, 0 for the one that leads.
        size: how many there are.
        local_rank: which of those on this machine.
        local_size: how many there are on each machine.
        address: of the machine of the one that leads.
        port: there.
        hosted: whether the starter keeps what they tell each other, and not the process that leads.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    address: str
    port: int
    hosted: bool = False


def found(environ: Mapping[str, str]) -> Place | None:
    """Return where `torchrun`, or whatever sets the same variables, or `srun` has put this process; None if none has.

    Args:
        environ: the environment.
    """
    if {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= environ.keys():
        rank, size = int(environ["RANK"]), int(environ["WORLD_SIZE"])
        local_size = int(environ.get("LOCAL_WORLD_SIZE", size))
        local_rank = int(environ.get("LOCAL_RANK", rank % local_size))
        hosted = environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        address, port = environ["MASTER_ADDR"], int(environ["MASTER_PORT"])
    elif int(environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        rank, size = int(environ["SLURM_PROCID"]), int(environ["SLURM_STEP_NUM_TASKS"])
        local_rank = int(environ["SLURM_LOCALID"])
        local_size = size // int(environ.get("SLURM_STEP_NUM_NODES", 1))
        nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_NODELIST", "127.0.0.1")
        job = int(environ.get("SLURM_JOB_ID", 0)) + int(environ.get("SLURM_STEP_ID", 0))
        address = environ.get("MASTER_ADDR") or first_node(nodes)
        port, hosted = int(environ.get("MASTER_PORT", PORT + job % 20_000)), False
    else:
        return None
    return Place(rank, size, local_rank, local_size, address, port, hosted) if size > 1 else None


def first_node(nodes: str) -> str:
    """Return the first machine of a list as Slurm writes it, such as `gpu[03-05,9],login`."""
    name, bracket, rest = nodes.partition("[")
    if not bracket or "," in name:
        return name.partition(",")[0]
    numbers, _, suffix = rest.partition("]")
    return name + numbers.replace("-", ",").partition(",")[0] + suffix.partition(",")[0]


@dataclass
class Crew:
    """The processes that compute runs together with this one, which leads.

    Attributes:
        place: this process's.
        started: those that it has started itself, by rank.
        said: what each of these writes to standard error.
        listens: where these will find this process.
        jobs: how many runs they have been given.
    """

    place: Place
    started: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    said: dict[int, IO[bytes]] = field(default_factory=dict)
    listens: socket.socket | None = None
    jobs: int = 0
    store: Any = None

    def meet(self) -> Any:
        """Return what the processes tell each other."""
        if self.store is None:
            self.store = _store(self.place, leads=True, listens=self.listens)
        return self.store

    def has_all(self) -> bool:
        """Tell whether none of the processes that were started here has ended."""
        return all(process.poll() is None for process in self.started.values())

    def stop(self) -> None:
        """End the processes that were started here."""
        for process in self.started.values():
            process.kill()
        for process in self.started.values():
            process.wait()
        for file in self.said.values():
            file.close()
        if self.listens is not None and self.store is None:
            self.listens.close()

    def ended(self, rank: int) -> str | None:
        """Return in a clause how a process that was started here has ended; None while it has not."""
        code = self.started[rank].poll()
        if code is None:
            return None
        self.said[rank].seek(0)
        lines = self.said[rank].read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        if code == 128 + signal.SIGTERM:
            code = -signal.SIGTERM
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
            memory = ", perhaps for lack of memory" if -code == signal.SIGKILL else ""
            return f"it was ended by {name}{memory}"
        return f"it ended with status {code}{f' ({last[:300]})' if last else ''}"


_crew: Crew | None = None


def prepare(config: Config) -> None:
    """Start what other processes a run needs, so that they import their libraries while this one does.

    Raises:
        InputError: what is to be sharded is no language model; the command was started in another number of processes
            than the run needs; or it needs several machines, and nobody has started any there.
    """
    global _crew  # noqa: PLW0603  (a process computes one run at a time)
    trainer, place = config.trainer, found(os.environ)
    size = trainer.devices * trainer.num_nodes
    if trainer.strategy == "fsdp" and config.model.architecture != "llm":
        raise InputError(
            f"trainer.strategy=fsdp is for language models, and model={config.model.name} is none "
            f"(model.architecture={config.model.architecture}); set trainer.strategy=ddp"
        )
    asked = f"trainer.devices={trainer.devices} times trainer.num_nodes={trainer.num_nodes}"
    if place is not None and os.environ.get(journal.FOLDER_VARIABLE) == "":
        raise InputError(
            f"this launcher starts jobs in processes of their own, and {place.size} processes were started for the "
            "command already; set launcher=basic, or type the command without torchrun or srun"
        )
    if place is not None and (place.size, place.local_size) != (size, trainer.devices):
        raise InputError(
            f"{place.size} processes were started for this command, {place.local_size} on each machine, and {asked} is "
            f"{size}; set trainer.devices={place.local_size} trainer.num_nodes={place.size // place.local_size}"
        )
    if place is None and trainer.num_nodes > 1:
        raise InputError(
            f"trainer.num_nodes={trainer.num_nodes} needs a process for every device of every machine; start the "
            f"command with srun --ntasks-per-node={trainer.devices} or torchrun --nproc-per-node={trainer.devices}"
        )
    if _crew is not None and (_crew.place.size != size or not _crew.has_all()):
        _crew.stop()
        _crew = None
    if size > 1:  # torch would tell of parameters without a gradient that it was to look for, and that there are none
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if size > 1 and _crew is None:
        _crew = _start(size) if place is None else Crew(place)


@contextmanager
def computing(
    config: Config, configuration: Mapping[str, Any], folder: Path, note: Callable[[str], None]
) -> Iterator[None]:
    """Let the other processes of a run compute what is computed inside, if it needs any.

    Args:
        config: the run.
        configuration: the same as plain data.
        folder: where its results go.
        note: told the reason where the whole command has to end since another process has failed.

    Raises:
        InputError: another process has failed.
    """
    global _crew  # noqa: PLW0603
    crew = _crew
    if crew is None:
        yield
        return
    store, number = crew.meet(), crew.jobs
    crew.jobs += 1
    job = {"configuration": configuration, "folder": str(folder.absolute()), "directory": str(Path.cwd())}
    store.set(f"job/{number}", json.dumps(job))
    others = range(1, crew.place.size)
    group, watched = (_group(of, crew.place, number) for of in (store, _store(crew.place, leads=False)))
    look = look_after(crew)
    try:
        with watching(watched, look, note), _member(group, config):
            yield
            group.wait_for([f"done/{rank}" for rank in others])
    except BaseException as error:
        reason = None if stopping.asked() else reason_elsewhere(group, error, look)
        group.fail(sentence(error))
        if crew.started:
            crew.stop()
            _crew = None
        elif not stopping.asked():  # whoever was told to stop is gone soon, and with it what the others wait for
            wait_for_the_rest(group, others, reason or sentence(error))
        stopping.check()  # the others may have been told as well, and have gone first
        if reason is not None:
            raise AnotherFailedError(reason) from None
        raise


def dismiss(status: int) -> None:
    """Let the other processes of the command end.

    Args:
        status: the command's exit status, which is theirs where somebody else has started them.
    """
    global _crew
    crew, _crew, place = _crew, None, found(os.environ)
    if crew is None and place is not None and os.environ.get(journal.FOLDER_VARIABLE) != "":
        crew = Crew(place)
    if crew is None:
        return
    if not crew.started:
        with contextlib.suppress(RuntimeError):
            store = crew.meet()
            store.set("end", str(status))
            late = time.monotonic() + (TICK if stopping.asked() else SILENT)
            while time.monotonic() < late and not store.check([f"bye/{rank}" for rank in range(1, crew.place.size)]):
                time.sleep(TICK)
    crew.stop()


def follows() -> bool:
    """Tell whether somebody has started this process as another than the one that leads."""
    place = found(os.environ)
    return place is not None and place.rank > 0


def follow(place: Place) -> int:
    """Compute run after run with the process that leads, until there is none left; return the exit status.

    Args:
        place: this process's.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one that leads decides what becomes of that
    signal.signal(signal.SIGTERM, _hold_out)
    _hush()
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    threads.prepare()
    try:
        store = _store(place, leads=False)
        number = 0
        while True:
            while not store.check([f"job/{number}"]):
                if store.check(["end"]):
                    status = int(store.get("end"))
                    store.set(f"bye/{place.rank}", "")
                    return status
                time.sleep(TICK)
            _take_part(store, place, number, json.loads(store.get(f"job/{number}")))
            number += 1
    except RuntimeError:  # the store has gone, and with it the process that leads
        return 1


def _hold_out(*_: Any) -> None:
    """Leave in a moment: who has told all processes to stop has told the one that leads, which ends its step first."""
    leave = threading.Timer(HOLD, os._exit, [128 + signal.SIGTERM])
    leave.daemon = True
    leave.start()


def _take_part(store: Any, place: Place, number: int, job: Mapping[str, Any]) -> None:
    from omegaconf import DictConfig, OmegaConf  # noqa: PLC0415

    from lrsl.config.composition import to_config  # noqa: PLC0415
    from lrsl.nn.memory import release  # noqa: PLC0415
    from lrsl.run import pipeline  # noqa: PLC0415

    group = _group(store, place, number)
    os.chdir(job["directory"])
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Config), job["configuration"])
        assert isinstance(merged, DictConfig)
        config = to_config(merged)
        with (
            watching(_group(_store(place, leads=False), place, number), lambda _: None, lambda _: None),
            _member(group, config),
        ):
            pipeline.run(config, Path(job["folder"]))
    except Exception as error:
        if reason_elsewhere(group, error, lambda _: None) is None:
            group.fail(sentence(error))
        traceback.clear_frames(error.__traceback__)
    finally:
        release()
        group.told.set(f"done/{place.rank}", "")


def _start(size: int) -> Crew:
    """Start the other processes of a command on this machine."""
    listens = socket.create_server(("127.0.0.1", 0))
    place = Place(0, size, 0, size, "127.0.0.1", listens.getsockname()[1])
    crew = Crew(place, listens=listens)
    each = threads.each_of(size)
    for rank in range(1, size):
        variables = {
            "RANK": str(rank),
            "WORLD_SIZE": str(size),
            "LOCAL_RANK": str(rank),
            "LOCAL_WORLD_SIZE": str(size),
            "MASTER_ADDR": place.address,
            "MASTER_PORT": str(place.port),
            STARTED_BY: str(os.getpid()),
            "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        }
        if each is not None:
            variables["OMP_NUM_THREADS"] = str(each)
        # a file, and no pipe, that nobody would have to read meanwhile
        said = crew.said[rank] = tempfile.TemporaryFile()  # noqa: SIM115
        crew.started[rank] = subprocess.Popen(
            [sys.executable, "-m", FOLLOW],
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
        )
    return crew


def _store(place: Place, *, leads: bool, listens: socket.socket | None = None) -> Any:
    if not leads:
        _wait_for_host(place)
    return _distributed().TCPStore(
        place.address,
        place.port,
        is_master=leads and not place.hosted,
        timeout=timedelta(seconds=COMING),
        wait_for_workers=False,
        master_listen_fd=None if listens is None else listens.detach(),
    )


def _wait_for_host(place: Place) -> None:
    """Wait until the process that leads listens; torch would look after it at ever longer intervals.

    Raises:
        RuntimeError: it has not come.
    """
    late = time.monotonic() + COMING
    while True:
        try:
            socket.create_connection((place.address, place.port), timeout=5).close()
            return
        except OSError:
            if time.monotonic() > late:
                raise RuntimeError("the process that leads has not come") from None
            time.sleep(TICK)


def _distributed() -> Any:
    import torch.distributed as dist  # noqa: PLC0415

    return dist


def _group(store: Any, place: Place, number: int) -> Together:
    restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    told = _distributed().PrefixStore(f"run/{restart}/{number}", store)
    return Together(told, place.rank, place.size, place.local_rank, place.local_size)


@contextmanager
def _member(group: Together, config: Config) -> Iterator[None]:
    """Let what happens inside be computed by all processes of a group, once they are there."""
    import torch  # noqa: PLC0415

    dist = _distributed()

    from lrsl.training.strategies import TIMEOUT  # noqa: PLC0415
    from lrsl.training.trainer import device  # noqa: PLC0415

    backend = "gloo"
    if device(config.trainer) == "cuda":
        if torch.cuda.device_count() < group.local_size:
            raise InputError(
                f"trainer.devices={group.local_size} asks for more GPUs than the {torch.cuda.device_count()} of this "
                "machine that this process sees; set it to as many"
            )
        torch.cuda.set_device(group.local_rank)
        backend = "cpu:gloo,cuda:nccl"
    group.told.set(f"ready/{group.rank}", "")
    group.wait_for([f"ready/{rank}" for rank in range(group.size)])
    before, each = torch.get_num_threads(), threads.each_of(group.local_size)
    told: Any = group.told
    store = dist.PrefixStore("group", told)
    dist.init_process_group(backend, store=store, rank=group.rank, world_size=group.size, timeout=TIMEOUT)
    torch.set_num_threads(each or before)
    try:
        with joined(group):
            yield
    except BaseException:
        abort()
        raise
    finally:
        torch.set_num_threads(before)
        with contextlib.suppress(Exception):
            dist.destroy_process_group()


def _hush() -> None:
    """Let this process print nothing: the one that leads prints."""
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.close(silent)
    if found(os.environ) is not None and not os.environ.get("LRSL_DEBUG"):
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  (for as long as the process lives)


__all__ = ["AnotherFailedError", "Place", "computing", "dismiss", "first_node", "follow", "follows", "found", "prepare"]
