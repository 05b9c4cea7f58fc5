"""What YAML files of others name in the settings of Hydra is made only where it is Hydra's or ours."""

import sys
from pathlib import Path

import pytest
import typed
from hydra import compose, initialize_config_dir

from lrsl.config import composition, mistakes, own
from lrsl.config.hydra_settings import VARIABLES, checked

ROOT = Path(__file__).resolve().parents[2]

HANDLER = "hydra: {{job_logging: {{handlers: {{theirs: {}}}}}}}"
REFUSED = {
    "callback": "hydra: {callbacks: {theirs: {_target_: planted.Theirs}}}",
    "callback of Python": "hydra: {callbacks: {theirs: {_target_: os.system, command: touch made}}}",
    "function behind a callback": "hydra: {callbacks: {theirs: {_target_: hydra.experimental.callbacks.os.system}}}",
    "argument of ours": "hydra: {callbacks: {sweep: {more: {_target_: planted.Theirs}}}}",
    "ours instead": "hydra: {callbacks: {sweep: {_target_: planted.Theirs}}}",
    "launcher": "hydra: {launcher: {_target_: planted.Theirs}}",
    "argument of a launcher": (
        "defaults: [override /launcher: submitit_slurm]\n"
        "hydra: {launcher: {additional_parameters: {a: [[{_target_: planted.Theirs}]]}}}"
    ),
    "sweeper": "hydra: {sweeper: {_target_: planted.Theirs}}",
    "argument of a sweeper": "hydra: {sweeper: {params: {a: {_target_: planted.Theirs}}}}",
    "looked up": "reranker: {defer: {_target_: planted.Theirs}}\nhydra: {callbacks: {theirs: '${reranker.defer}'}}",
    "name looked up": "dataset: {name: planted.Theirs}\nhydra: {callbacks: {theirs: {_target_: '${dataset.name}'}}}",
    "handler": HANDLER.format("{class: planted.Theirs}"),
    "made by a handler": HANDLER.format("{(): planted.Theirs}"),
    "function behind logging": HANDLER.format("{(): logging.os.system, command: touch made}"),
    "handler that sends": HANDLER.format("{class: logging.handlers.HTTPHandler, host: example.org, url: /}"),
    "stream": HANDLER.format("{class: logging.StreamHandler, stream: 'ext://planted.theirs'}"),
    "formatter": "hydra: {hydra_logging: {formatters: {simple: {class: planted.Theirs}}}}",
}
OUTSIDE = {
    "file of a log": HANDLER.format("{class: logging.FileHandler, filename: /tmp/x.log}"),
    "file above": HANDLER.format("{class: logging.FileHandler, filename: '${hydra.runtime.output_dir}/../x.log'}"),
    "script": HANDLER.format("{class: logging.FileHandler, filename: run.py}"),
    "subfolder": "hydra: {output_subdir: ../../x}",
    "name of the job": "hydra: {job: {name: ../x}}",
}


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """A function that writes a stranger's folder of YAML files."""
    (tmp_path / "planted.py").write_text(f"open({str(tmp_path / 'made')!r}, 'w').close()\nclass Theirs: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(settings):
        folder = tmp_path / "conf"
        (folder / "experiment").mkdir(parents=True, exist_ok=True)
        (folder / "experiment" / "theirs.yaml").write_text(f"# @package _global_\n{settings}\n")
        return folder

    yield write
    assert "planted" not in sys.modules


def loaded(folder, *more):
    """Return what is said of a configuration; nothing where it is taken."""
    searchpath = own.use([folder])
    try:
        with checked(), initialize_config_dir(str(composition.CONF), version_base="1.3"):
            compose("config", [*searchpath, "experiment=theirs", *more])
    except mistakes.COMPOSITION_ERRORS as error:
        return mistakes.explain(error)
    finally:
        own.use([])
    return ""


@pytest.mark.parametrize("what", REFUSED)
def test_nothing_of_strangers_is_made(theirs, what):
    said = loaded(theirs(REFUSED[what]))
    assert said.startswith("hydra.")
    assert "is nothing that Hydra is to make; only launchers, sweepers and callbacks of Hydra and lrsl" in said


@pytest.mark.parametrize("what", OUTSIDE)
def test_no_log_is_written_elsewhere(theirs, what):
    said = loaded(theirs(OUTSIDE[what]))
    assert said.startswith("hydra.")
    assert "leads out of the run's folder; give" in said or "is no name for the file of a log" in said


@pytest.mark.parametrize("variable", ["LD_PRELOAD", "PATH", "PYTHONPATH", "GIT_CONFIG_COUNT", "HF_ENDPOINT"])
def test_no_variable_by_which_code_is_found_is_set(theirs, variable):
    said = loaded(theirs(f"hydra: {{job: {{env_set: {{{variable}: x}}}}}}"))
    assert said.startswith(f"hydra.job.env_set sets {variable}, and only CUDA_VISIBLE_DEVICES, ")


@pytest.mark.parametrize(
    "settings",
    [
        "hydra: {callbacks: {more: {_target_: hydra.experimental.callbacks.LogJobReturnCallback}}}",
        "hydra: {job: {env_set: {CUDA_VISIBLE_DEVICES: '1'}}}",
        "hydra: {job: {name: mine}, output_subdir: null}",
        "hydra: {job: {name: mine}, output_subdir: .notes}",
        HANDLER.format("{class: logging.FileHandler, filename: '${hydra.runtime.output_dir}/mine.log'}"),
        HANDLER.format("{class: logging.StreamHandler, stream: 'ext://sys.stderr', formatter: simple}"),
        "defaults: [override /hydra/hydra_logging: hydra_debug]",
        "defaults: [override /hydra/job_logging: none]",
        "defaults: [override /launcher: joblib]",
    ],
)
def test_what_is_hydras_or_ours_is_taken(theirs, settings):
    assert loaded(theirs(settings)) == ""


def test_every_launcher_is_taken(theirs):
    folder = theirs("seed: 1")
    for launcher in sorted(path.stem for path in (composition.CONF / "launcher").glob("*.yaml")):
        said = loaded(folder, f"launcher={launcher}")
        assert not said or "needs a package that is not installed" in said


def test_variables_of_jobs_are_among_those_that_may_be_set():
    from lrsl.sweep.jobs import THREAD_VARIABLES

    assert {*THREAD_VARIABLES} <= {*VARIABLES}


def test_a_command_ends_in_a_sentence_before_anything_is_made(
    warm: typed.Typed, theirs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = theirs(REFUSED["callback"])
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{tmp_path}")
    for more in ([], ["-m", "seed=0,1"], ["-m", "seed=0,1", "launcher=joblib"]):
        done = warm(str(ROOT / "run.py"), "--config-dir", str(folder), "experiment=theirs", *more, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith("hydra.callbacks.theirs._target_=planted.Theirs is nothing that Hydra is to make")
        assert done.stderr.count("\n") == 1
        assert not (tmp_path / "made").exists()
