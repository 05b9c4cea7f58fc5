"""A run's folder beside another process that is at work there, and beside what has become of what a run left there."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import tiny
from typed import Typed

from lrsl.config.schema import Config
from lrsl.run import finished, results

ROOT = Path(__file__).parents[2]
FIGURES = '{"accuracy": 0.5, "accuracy_hard": 0.5, "accuracy_easy": 0.5}'
PROGRAM = f"""
import json, os, sys, time, types
sys.path.insert(0, {str(ROOT)!r})
from importlib.metadata import version
from pathlib import Path

def pipeline():
    from lrsl.data import load_corpus
    from lrsl.run import results

    def run(config, folder, figures=None):
        if os.environ.get("SPOILT"):
            import torch
            assert torch.get_default_dtype() == torch.float32
            if config.seed == 0:
                torch.set_default_dtype(torch.float64)
                os.chdir("/")
                raise RuntimeError("a view that changes what is not its own, and fails")
        busy = folder / "busy"
        busy.mkdir()  # fails where another process is at work
        time.sleep(1)
        busy.rmdir()
        measured = {{
            "status": "finished", "dataset": config.dataset.name, "model": config.model.name, "seed": config.seed,
            "data": load_corpus(config.dataset, None).fingerprint(), "versions": {{"lrsl": version("lrsl")}},
            "n_test": 10, "n_hard": 1, "hard_fraction": 0.1, "sigma2_mis": config.model.lr,
            "significance": dict.fromkeys(("gain", "gain_low", "gain_high", "only_origin_correct",
                                           "only_rerank_correct", "p_value"), 0),
        }}
        accuracies = dict.fromkeys(("origin", "rerank", "similarity"), {FIGURES})
        results.write(folder, measured | accuracies)
        if os.environ.get("KILLED"):
            os._exit(9)

    made = types.ModuleType("lrsl.run.pipeline")
    made.run, made.release = run, lambda: None
    return made

import lrsl.run
sys.modules["lrsl.run.pipeline"] = lrsl.run.pipeline = pipeline()
processes = []
times = int(os.environ.get("TIMES", "1"))
for number in range(times):
    if times == 1 or not (process := os.fork()):
        if times > 1:
            printed = os.open(f"printed{{number}}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(printed, 1)
            os.dup2(printed, 2)
        from lrsl.commands.run import main
        status = main(sys.argv[1:])
        sys.stdout.flush()
        os._exit(status)
    processes.append(process)
sys.exit(sum(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes))
"""

Run = Callable[..., Any]


@pytest.fixture
def run(warm: Typed, tiny_corpus: Path, tiny_bert: Path, tmp_path: Path) -> Run:
    """A function that types a command whose pipeline takes a second and only writes results."""

    def typed(*more: str, times: int = 1, killed: bool = False, spoilt: bool = False) -> Any:
        environment = {**os.environ, "TIMES": str(times)}
        environment |= {name: "1" for name, wanted in {"KILLED": killed, "SPOILT": spoilt}.items() if wanted}
        arguments = [
            *("dataset=custom", "dataset.name=tiny", "logger=csv", "trainer=cpu", f"model.pretrained={tiny_bert}"),
            *(f"embedding.pretrained={tiny_bert}", f"dataset.train={tiny_corpus / 'train.csv'}"),
            f"dataset.test={tiny_corpus / 'test.csv'}",
        ]
        return warm("-c", PROGRAM, *arguments, *more, cwd=tmp_path, env=environment)

    return typed


def test_the_same_command_twice_at_once_is_one_run(run: Run, tmp_path: Path) -> None:
    done = run(times=2)
    printed = sorted(((tmp_path / f"printed{number}").read_text() for number in range(2)), key=len)
    assert done.returncode == 0, printed
    assert sum("already finished" in text for text in printed) == 1
    assert sum(text.count("waiting for another run, which is at work in") for text in printed) == 1
    assert not list(tmp_path.glob("outputs/**/.lock"))


def test_the_same_sweep_twice_at_once_is_one_sweep(run: Run, tmp_path: Path) -> None:
    done = run("seed=0,1", "-m", times=2)
    printed = [(tmp_path / f"printed{number}").read_text() for number in range(2)]
    assert done.returncode == 0, printed
    assert sum(text.count("already finished") for text in printed) == 2
    assert sum(text.count("waiting for the same sweep") for text in printed) == 1
    assert not [text for text in printed if "no report" in text or "Traceback" in text]
    (record,) = tmp_path.glob("multirun_outputs/sweeps/*/runs.jsonl")
    assert [json.loads(line)["seed"] for line in record.read_text().splitlines()] == [0, 1]
    assert not list(tmp_path.glob("multirun_outputs/**/.lock"))


@pytest.mark.parametrize("killed", [True, False])
def test_figures_of_another_configuration_are_never_taken(run: Run, tmp_path: Path, killed: bool) -> None:
    assert run("hydra.run.dir=x", "model.lr=0.001").returncode == 0
    assert run("hydra.run.dir=x", "model.lr=0.002", killed=killed).returncode == (9 if killed else 0)
    assert json.loads((tmp_path / "x" / "results.json").read_text())["sigma2_mis"] == 0.002
    again = run("hydra.run.dir=x", "model.lr=0.001")
    assert again.returncode == 0, again.stderr
    assert "already finished" not in again.stdout
    assert json.loads((tmp_path / "x" / "results.json").read_text())["sigma2_mis"] == 0.001
    assert "already finished" in run("hydra.run.dir=x", "model.lr=0.001").stdout


def test_what_a_job_changes_of_the_process_does_not_reach_the_next(run: Run, tmp_path: Path) -> None:
    done = run("seed=0,1", "-m", spoilt=True)
    assert done.returncode == 1
    (record,) = tmp_path.glob("multirun_outputs/sweeps/*/runs.jsonl")
    assert [json.loads(line)["status"] for line in record.read_text().splitlines()] == ["failed", "finished"]


@pytest.fixture
def whole(tiny_corpus: Path, tiny_bert: Path, tmp_path: Path) -> tuple[Config, Path]:
    """A finished run with everything that one leaves."""
    from importlib.metadata import version

    from lrsl.config import identity
    from lrsl.data import load_corpus

    config = tiny.config(tiny_corpus, tiny_bert)
    folder = tmp_path / "run"
    for name in ("classifier/best.ckpt", "embedding/1_Pooling/config.json", "embedding/model.safetensors"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name * 1000)
    (folder / results.SCORES).write_text("scores")
    measured = {
        "status": "finished",
        finished.OF: identity.fingerprint(asdict(config)),
        "data": load_corpus(config.dataset, None).fingerprint(),
        "versions": {"lrsl": version("lrsl")},
        "origin": {"accuracy": 0.5},
    }
    results.write(folder, measured, [{"id": "test-1"}], {"labels": []}, [])
    (folder / "run.log").write_text("")
    finished.record_finish(asdict(config), folder)
    return config, folder


def known(whole: tuple[Config, Path]) -> dict[str, Any] | None:
    config, folder = whole
    return finished.results_of(config, asdict(config), folder)


LEFT = (
    *(results.RESULTS, results.PREDICTIONS, results.LABELS, results.SCORES, results.SUSPECTS, "classifier/best.ckpt"),
    *("embedding/model.safetensors", "embedding/1_Pooling/config.json"),
)


@pytest.mark.parametrize("name", LEFT)
@pytest.mark.parametrize("change", ["deleted", "digit", "cut", "folder"])
def test_a_run_is_whole_or_it_is_run_again(
    whole: tuple[Config, Path], name: str, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert known(whole) is not None
    path = whole[1] / name
    content = path.read_bytes()
    if change == "deleted":
        path.unlink()
    elif change == "digit":
        path.write_bytes(content.replace(b"5", b"6", 1) if b"5" in content else content[:-2] + b"z" + content[-1:])
    elif change == "cut":
        path.write_bytes(content[:-1])
    else:
        path.unlink()
        path.mkdir()
    capsys.readouterr()
    if name == results.SUSPECTS and change in ("digit", "cut"):
        return  # it is empty
    assert known(whole) is None
    if name != results.RESULTS or change == "digit":
        assert capsys.readouterr().out.startswith(f"running again, since {name} ")


def test_a_folder_that_is_gone_and_a_key_that_is_missing_are_seen(
    whole: tuple[Config, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, folder = whole
    shutil.move(folder / "embedding", folder / "aside")
    assert known(whole) is None
    shutil.move(folder / "aside", folder / "embedding")
    assert known(whole) is not None
    found = json.loads((folder / results.RESULTS).read_text())
    del found["origin"]
    (folder / results.RESULTS).write_text(json.dumps(found))
    capsys.readouterr()
    assert known(whole) is None
    assert "results.json has changed" in capsys.readouterr().out


def test_what_is_logged_afterwards_does_not_count(whole: tuple[Config, Path]) -> None:
    for name in ("run.log", "metrics.csv", ".lock"):
        (whole[1] / name).write_text("more")
    assert known(whole) is not None


def test_results_say_which_configuration_they_are_of(
    whole: tuple[Config, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    config, folder = whole
    other = replace(config, model=replace(config.model, lr=0.5))
    finished.record_finish(asdict(other), folder)  # the marker of one beside the results of another
    assert finished.results_of(other, asdict(other), folder) is None
    assert "results.json is of another configuration" in capsys.readouterr().out


def test_what_was_measured_is_left_when_a_failure_cannot_be_recorded(whole: tuple[Config, Path]) -> None:
    config, folder = whole
    before = (folder / results.RESULTS).read_bytes()
    finished.record_failure(asdict(config), folder, "no such luck")
    assert (folder / results.RESULTS).read_bytes() == before
