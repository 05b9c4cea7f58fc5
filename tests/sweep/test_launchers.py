"""Sweeps whose jobs run in processes of their own, with a copy of the program whose pipeline only writes results."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra.errors import MissingConfigException

import run
from hydra_plugins.lrsl_launchers import joblib, ray, submitit
from hydra_plugins.lrsl_launchers.each_for_itself import cores
from lrsl.config import mistakes
from lrsl.errors import InputError
from lrsl.sweep import jobs

ROOT = Path(run.__file__).parent
KEY = "0123456789abcdef0123456789abcdef01234567"
NEEDED = {
    "joblib": "hydra_plugins.hydra_joblib_launcher",
    "submitit_local": "hydra_plugins.hydra_submitit_launcher",
    "submitit_slurm": "hydra_plugins.hydra_submitit_launcher",
    "ray": "ray",
}

PIPELINE = """
import os, signal, time
from importlib.metadata import version
from pathlib import Path
from lrsl.data import load_corpus
from lrsl.run import results
from lrsl.errors import InputError

def run(config, folder, figures=None):
    Path(f"started{config.seed}").write_text(str(os.getpid()))
    if config.seed == 13:
        raise InputError("unlucky")
    if config.seed == 14:
        os.kill(os.getpid(), signal.SIGKILL)
    if config.seed == 15:
        time.sleep(200)
    threads = None
    if config.seed == 2:
        import torch
        threads = torch.get_num_threads()
    accuracy = {"accuracy": 0.9 + config.seed / 100, "accuracy_hard": 0.5, "accuracy_easy": 0.95}
    measured = {
        "status": "finished",
        "dataset": config.dataset.name,
        "model": config.model.name,
        "seed": config.seed,
        "data": load_corpus(config.dataset, config.data_dir).fingerprint(),
        "versions": {"lrsl": version("lrsl")},
        "n_test": 10,
        "n_hard": 1,
        "hard_fraction": 0.1,
        "sigma2_mis": 0.01,
        "significance": dict.fromkeys(
            ("gain", "gain_low", "gain_high", "only_origin_correct", "only_rerank_correct", "p_value"), 0
        ),
        "threads": threads,
        "variables": {name: value for name, value in os.environ.items() if name.endswith("_THREADS")},
    }
    results.write(folder, measured | dict.fromkeys(("origin", "rerank", "similarity"), accuracy))

def release():
    pass
"""

Typed = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the program; as where it is installed, processes find the package but not what is beside run.py."""
    folder = tmp_path_factory.mktemp("program")
    shutil.copytree(ROOT / "lrsl", folder / "installed" / "lrsl")
    (folder / "installed" / "lrsl" / "run" / "pipeline.py").write_text(PIPELINE)
    shutil.copytree(ROOT / "conf", folder / "installed" / "lrsl" / "conf")
    shutil.copytree(ROOT / "hydra_plugins", folder / "hydra_plugins")
    shutil.copy(ROOT / "run.py", folder)
    return folder


@pytest.fixture(scope="module")
def finished(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What seed 3 leaves behind."""
    folder = tmp_path_factory.mktemp("finished")
    variables = os.environ | {"PYTHONPATH": str(program / "installed")}
    command = [sys.executable, str(program / "run.py"), "seed=3", "logger=csv", "-m"]
    subprocess.run(command, cwd=folder, env=variables, check=True)
    return folder / "multirun_outputs"


@pytest.fixture
def typed(program: Path, tmp_path: Path) -> Iterator[Typed]:
    """Return a function that starts `python run.py` with arguments, in the test's folder."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # processes inherit it where it is ignored
    with tempfile.TemporaryDirectory(prefix="ray") as short:  # Ray puts sockets there, whose paths must be short
        given = {name: value for name, value in os.environ.items() if name not in jobs.THREAD_VARIABLES}
        given |= {"PYTHONPATH": str(program / "installed"), "HOME": str(tmp_path), "RAY_TMPDIR": short}

        def start(*arguments: str, **more: str) -> subprocess.Popen[str]:
            return subprocess.Popen(
                [sys.executable, str(program / "run.py"), *arguments],
                cwd=tmp_path,
                env=given | {"WANDB_API_KEY": KEY} | more,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

        yield start
    signal.signal(signal.SIGINT, before)


@pytest.fixture(params=["joblib", "submitit_local", "ray"])
def launcher(request: pytest.FixtureRequest) -> str:
    """Each launcher that works on one machine."""
    if importlib.util.find_spec(NEEDED[request.param]) is None:
        pytest.skip(f"{NEEDED[request.param]} is not installed")
    return str(request.param)


def test_no_job_takes_another_along_and_none_takes_more_than_its_share(
    typed: Typed, finished: Path, tmp_path: Path, launcher: str
) -> None:
    outputs = shutil.copytree(finished, tmp_path / "multirun_outputs")
    # the summary goes to W&B, with what that takes to import, where nothing else is slow
    more = [] if launcher == "submitit_local" else ["logger=csv"]
    sweep = typed("seed=14,2,13,3", f"launcher={launcher}", *more, "-m", MKL_NUM_THREADS="64")
    output, errors = sweep.communicate(timeout=200)
    assert sweep.returncode == 1, errors
    job = " ".join([f"launcher={launcher}", *more])
    assert f"seed=13 {job} failed: unlucky\n" in errors
    assert re.search(rf"seed=14 {job} failed: it(s process was killed| left no result)", errors)
    assert "Traceback" not in errors

    (record,) = outputs.glob(f"sweeps/*{launcher}*/runs.jsonl")
    assert sorted(json.loads(line)["job"] for line in record.read_text().splitlines()) == [0, 1, 2, 3]
    table = record.with_name("summary.md").read_text()
    assert "| telecom34 | minilm | 2 | 92.50 ± 0.71 |" in table
    assert "92.50 ± 0.71" in output
    assert re.findall(r"- failed: (\S+)", table) == ["seed=14", "seed=13"]

    assert not (tmp_path / "started3").exists()  # the one that had been finished before
    found = {path.parent.name: json.loads(path.read_text()) for path in outputs.rglob("results.json")}
    assert sorted(found) == ["seed13", "seed2", "seed3"]
    share = {"joblib": cores() // 2, "submitit_local": cores() // 4, "ray": 1}[launcher] or 1
    assert found["seed2"]["threads"] == share
    assert found["seed2"]["variables"].items() >= dict.fromkeys(jobs.THREAD_VARIABLES, str(share)).items()

    assert (launcher == "submitit_local") == bool(list(outputs.glob(".submitit/*/*_submitted.pkl")))
    files = (path for path in tmp_path.rglob("*") if path.is_file())
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_an_interrupted_sweep_leaves_nothing_running(typed: Typed, tmp_path: Path, launcher: str) -> None:
    sweep = typed("seed=15,3", f"launcher={launcher}", "-m")
    started = tmp_path / "started15"
    job = _started(sweep, started)
    sweep.send_signal(signal.SIGINT)  # to this process only, as from a program; a terminal sends it to all
    _, errors = sweep.communicate(timeout=100)
    assert sweep.returncode == 130, errors
    assert "stopped by SIGINT at the sweep; what was through before is kept; to go on from there: lrsl run " in errors
    (summary,) = tmp_path.glob("multirun_outputs/sweeps/*/summary.md")
    assert "seed=15" in summary.read_text()
    assert "not finished: stopped by SIGINT" in summary.read_text()
    _ends(job, within=30)


def test_jobs_end_with_a_sweep_that_is_killed(typed: Typed, tmp_path: Path) -> None:
    pytest.importorskip(NEEDED["joblib"])
    sweep = typed("seed=15,15", "launcher=joblib", "-m")
    started = tmp_path / "started15"
    job = _started(sweep, started)
    sweep.kill()
    _ends(job, within=10)
    sweep.communicate()


def _started(sweep: subprocess.Popen[str], started: Path) -> int:
    """Wait for a job to say that it has started, and return its process."""
    deadline = time.monotonic() + 100
    while not (started.exists() and started.read_text()):
        assert sweep.poll() is None, sweep.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return int(started.read_text())


def _ends(process: int, *, within: float) -> None:
    deadline = time.monotonic() + within
    while _runs(process):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("n_jobs", "jobs_", "at_a_time", "threads"),
    [(2, 5, 2, 4), (3, 5, 3, 2), (16, 3, 3, 2), (16, 99, 16, 1), (-1, 99, 8, 1), (-2, 99, 7, 1), (-99, 5, 1, 8)],
)
def test_jobs_share_the_cores(
    monkeypatch: pytest.MonkeyPatch, n_jobs: int, jobs_: int, at_a_time: int, threads: int
) -> None:
    monkeypatch.setattr(joblib, "cores", lambda: 8)
    launcher = joblib.JoblibLauncher(n_jobs=n_jobs)
    assert (launcher.at_a_time(jobs_), launcher.threads(jobs_)) == (at_a_time, threads)


def test_the_number_of_threads_a_user_exports_goes_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "64")
    assert [jobs.environment(3)[name] for name in jobs.THREAD_VARIABLES] == ["3"] * len(jobs.THREAD_VARIABLES)
    assert not set(jobs.environment(None)) & set(jobs.THREAD_VARIABLES)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    for threads in (3, None):
        assert {jobs.environment(threads)[name] for name in jobs.THREAD_VARIABLES} == {"5"}


def test_settings_that_can_run_nothing_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^hydra\.launcher\.n_jobs=0 runs nothing"):
        joblib.JoblibLauncher(n_jobs=0).threads(2)
    here = ray.RayLauncher(address=None, num_cpus=3, num_gpus=None)
    with pytest.raises(InputError, match=r"^hydra\.launcher\.num_cpus=3 is too large; this machine has 2$"):
        here.needs({"CPU": 2.0})
    with pytest.raises(InputError, match=r"^hydra\.launcher\.num_gpus=1 is too large; this machine has 0$"):
        ray.RayLauncher(address=None, num_cpus=1, num_gpus=1).needs({"CPU": 2.0})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="finds no sbatch here"):
        submitit.SlurmLauncher(cpus_per_task=4).executor()


def test_ray_gives_a_job_a_gpu_where_there_is_one() -> None:
    launcher = ray.RayLauncher(address=None, num_cpus=2, num_gpus=None)
    assert launcher.needs({"CPU": 8.0, "GPU": 4.0}) == {"num_cpus": 2, "num_gpus": 1}
    assert launcher.needs({"CPU": 8.0}) == {"num_cpus": 2, "num_gpus": 0}


SBATCH = """#!/bin/sh
cp "$1" submitted.sh
echo "sbatch: error: invalid partition specified: nope" >&2
exit 1
"""


def test_what_is_asked_of_slurm(typed: Typed, tmp_path: Path) -> None:
    pytest.importorskip(NEEDED["submitit_slurm"])
    for command in ("sbatch", "srun"):
        (tmp_path / command).write_text(SBATCH)
        (tmp_path / command).chmod(0o755)
    arguments = ["seed=0,1,2", "launcher=submitit_slurm", "hydra.launcher.partition=nope", "-m"]
    sweep = typed(*arguments, PATH=f"{tmp_path}:{os.environ['PATH']}")
    _, errors = sweep.communicate(timeout=100)
    assert sweep.returncode == 1
    assert "slurm does not take the jobs: sbatch: error: invalid partition specified: nope\n" in errors
    assert "Traceback" not in errors
    asked = (tmp_path / "submitted.sh").read_text()
    for line in ("--array=0-2%3", "--cpus-per-task=4", "--partition=nope", "--time=1440"):
        assert f"#SBATCH {line}\n" in asked
    assert "--cpus-per-task=4" in asked.partition("\nsrun ")[2]
    assert f"{tmp_path}/multirun_outputs/.submitit/" in asked
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "submitit_slurm", "ray"])
def test_a_launcher_that_is_not_installed_is_asked_for(launcher: str) -> None:
    error = MissingConfigException("", missing_cfg_file=f"hydra/launcher/{launcher}", options=["basic"])
    extra = launcher.partition("_")[0]
    assert mistakes.explain(error) == (
        f"launcher={launcher} needs a package that is not installed; pip install 'lrsl[{extra}]' adds it"
    )


def test_a_launcher_is_loaded_when_it_launches(tmp_path: Path) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['run.py', '--help']; import run\n"
        "try: run.main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('joblib', 'submitit', 'ray', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    assert "launcher: basic, joblib, ray, submitit_local, submitit_slurm" in done.stdout
