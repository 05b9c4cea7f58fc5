"""The door, from the command line to the exit status, with a pipeline that only writes results."""

import gc
import io
import json
import logging
import re
import subprocess
import sys
import types
import weakref
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import lrsl.run
import run
from lrsl.commands import closed
from lrsl.commands import run as command
from lrsl.config.schema import Config, DatasetConfig
from lrsl.errors import InputError
from lrsl.run import finished, results

ROOT = Path(run.__file__).parent
UNLOADED = ("torch", "transformers", "pytorch_lightning", "wandb", "matplotlib")


class Model:
    """Something large that a failing job leaves in its frames."""


class Pipeline(types.ModuleType):
    """`lrsl.run.pipeline` by its contract, without training."""

    def __init__(self) -> None:
        super().__init__("lrsl.run.pipeline")
        self.ran: list[tuple[Config, Path]] = []
        self.shown: list[dict[str, Any]] = []  # of runs that had finished before
        self.models: list[weakref.ref[Model]] = []
        self.alive: list[int] = []
        self.collects = False  # which takes as long as all else here

    def run(self, config: Config, folder: Path, figures: object = None) -> dict[str, Any]:
        self.alive.append(sum(model() is not None for model in self.models))
        model = Model()
        self.models.append(weakref.ref(model))
        self.ran.append((config, folder))
        if config.seed == 13:
            raise InputError("data.csv:13: the label is empty; give one")
        if config.seed == 14:
            raise RuntimeError("a bug\nof two lines")
        if config.seed == 15:
            raise KeyboardInterrupt
        if config.seed == 17:
            raise BrokenPipeError("Broken pipe")
        if config.seed == 16:
            try:
                raise KeyboardInterrupt
            except KeyboardInterrupt:
                sys.exit(1)
        accuracy = {"accuracy": 0.9 + config.seed / 100, "accuracy_hard": 0.5, "accuracy_easy": 0.95}
        measured = {
            "dataset": config.dataset.name,
            "model": config.model.name,
            "seed": config.seed,
            "status": "finished",
            "data": config.dataset.name,
            "versions": {"lrsl": version("lrsl")},
            "hard_fraction": 0.1,
            **dict.fromkeys(("origin", "rerank", "similarity"), accuracy),
        }
        results.write(folder, measured, [{"id": "0"}])
        return measured

    def release(self) -> None:
        if self.collects:
            gc.collect()


AT_THE_END = {"report": command.report, "track": command.track}
"""What a sweep draws and logs when its jobs are done."""


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Pipeline]:
    stub = Pipeline()
    monkeypatch.setitem(sys.modules, "lrsl.run.pipeline", stub)
    monkeypatch.setattr(lrsl.run, "pipeline", stub, raising=False)  # where it is, once something has imported it
    monkeypatch.setattr(results, "show", stub.shown.append)
    for name in AT_THE_END:
        monkeypatch.setattr(command, name, lambda *_: None)
    monkeypatch.setattr(finished, "load_corpus", lambda dataset, _: SimpleNamespace(fingerprint=lambda: dataset.name))
    monkeypatch.delenv("LRSL_DATA_DIR", raising=False)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # so that it is as it was afterwards
    monkeypatch.setenv("LRSL_SWEEP", "")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield stub
    for handler in root.handlers[:]:
        if handler not in before:
            handler.close()
            root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture
def to_the_end(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sweeps draw and log what they do elsewhere."""
    for name, function in AT_THE_END.items():
        monkeypatch.setattr(command, name, function)


def typed(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    try:
        return run.main()
    except SystemExit as end:
        return int(end.code or 0)


def found_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.rglob("results.json"))]


def test_a_reader_that_has_gone_is_no_failure_of_the_job(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, "seed=17") == 1
    assert "BrokenPipeError: Broken pipe\n" in capsys.readouterr().err
    assert found_in(Path("outputs"))[0]["status"] == "failed"  # the pipe was another one

    class Closed(io.StringIO):
        told = False  # once it has been, what is written goes nowhere

        def flush(self) -> None:
            if pipeline.ran[-1][0].model.lr == 0.5 and not self.told:
                self.told = True
                raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    assert typed(monkeypatch, "seed=17", "model.lr=0.5") == closed.STATUS
    assert len(found_in(Path("outputs"))) == 1
    assert capsys.readouterr().err == "the output was closed before all of it was written\n"


def test_a_run_leaves_its_results_in_its_own_folder(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    assert typed(monkeypatch, "seed=3") == 0
    ((config, folder),) = pipeline.ran
    assert config.seed == 3
    assert folder.is_absolute()
    assert folder.relative_to(Path.cwd()).parts[:3] == ("outputs", "telecom34", "minilm")
    assert folder.name == "seed3"
    assert found_in(Path("outputs"))[0]["status"] == "finished"


def test_a_given_folder_is_used(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    assert typed(monkeypatch, "hydra.run.dir=here") == 0
    assert pipeline.ran[0][1] == Path("here").absolute()


@pytest.mark.parametrize("seed", [0, 1])
def test_a_finished_run_is_not_run_again(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    assert typed(monkeypatch, f"seed={seed}") == 0
    assert "already finished" not in capsys.readouterr().out
    assert typed(monkeypatch, f"seed={seed}", "logger=csv", "trainer.progress=false") == 0
    assert "already finished" in capsys.readouterr().out
    assert len(pipeline.ran) == 1
    assert pipeline.shown[0]["seed"] == seed
    assert typed(monkeypatch, f"seed={seed}", "rerun=true") == 0
    assert len(pipeline.ran) == 2


def test_a_sweep_over_finished_runs_says_which_ones_are_run_again_and_why(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    weights = tmp_path / "mine" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_text("weights")
    sweep = ["-m", "model.pretrained=mine,sentence-transformers/all-MiniLM-L6-v2", "seed=0,1"]
    assert typed(monkeypatch, *sweep) == 0
    assert typed(monkeypatch, *sweep) == 0
    assert len(pipeline.ran) == 4
    capsys.readouterr()
    weights.write_text("WEIGHTS")
    assert typed(monkeypatch, *sweep) == 0
    assert len(pipeline.ran) == 6
    told = capsys.readouterr().out
    assert told.count("already finished: ") == 2
    assert told.count("running again, since the weights in model.pretrained have changed: ") == 2
    assert typed(monkeypatch, *sweep) == 0
    assert len(pipeline.ran) == 6


def test_seed_0_is_a_seed_like_any_other(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, "seed=1")
    typed(monkeypatch, "seed=0")
    assert [config.seed for config, _ in pipeline.ran] == [1, 0]


def test_results_of_another_configuration_in_the_same_folder_do_not_count(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments in (["seed=0"], ["seed=1"], ["seed=1", "model.epochs=9"], ["seed=1", "model.epochs=9"]):
        assert typed(monkeypatch, "hydra.run.dir=here", *arguments) == 0
    assert [(config.seed, config.model.epochs) for config, _ in pipeline.ran] == [(0, 3), (1, 3), (1, 9)]


def test_a_users_error_is_one_sentence(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, "seed=13") == 1
    assert capsys.readouterr().err == "data.csv:13: the label is empty; give one\n"
    (failed,) = found_in(Path("outputs"))
    commit = failed.pop("commit")
    assert commit is None or re.fullmatch(r"[0-9a-f]{10,}\+?", commit)
    assert failed == {
        "status": "failed",
        "error": "data.csv:13: the label is empty; give one",
        "dataset": "telecom34",
        "model": "minilm",
        "embedding": "minilm",
        "embedding_finetuned": True,
        "negatives": "all",
        "seed": 13,
        "k": 3,
        "power": 1.0,
    }


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["model.epocs=3"], "model.epocs is no key of this configuration; did you mean model.epochs?"),
        (["model.epocs=3,4", "-m"], "model.epocs is no key of this configuration; did you mean model.epochs?"),
        (["+sed=1"], "sed is no key of this configuration; did you mean seed?"),
        (["dataset=banking"], "dataset=banking is unknown;"),
        (["seed=abc"], "seed takes a whole number"),
        (["seed=0,1"], "add -m to run them all"),
        (["seed=-1"], "seed=-1 is out of range"),
        (["model=convbert"], "model.pretrained is empty; give a hub id or a local folder"),
        (["seed="], "seed takes a whole number"),
        (["="], "= is no key of this configuration"),
        (["--cfg", "job", "sed=1"], "did you mean seed?"),
    ],
)
def test_a_mistyped_command_is_one_sentence(
    pipeline: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    assert typed(monkeypatch, *arguments) == 1
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert pipeline.ran == []


def test_a_bug_keeps_its_traceback(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, "seed=14") == 1
    error = capsys.readouterr().err
    assert error.count("Traceback") == 1
    assert 'raise RuntimeError("a bug' in error
    assert found_in(Path("outputs"))[0]["error"] == "RuntimeError: a bug of two lines"


@pytest.mark.parametrize("seed", [15, 16])
def test_an_interrupted_run_says_so(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    assert typed(monkeypatch, f"seed={seed}") == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert found_in(Path("outputs")) == []


def test_a_failure_leaves_finished_results_alone(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch) == 0

    def unreadable(dataset: DatasetConfig, data_dir: str | None) -> None:
        raise InputError("data_dir=/nowhere is not a folder")

    monkeypatch.setattr(finished, "load_corpus", unreadable)
    assert typed(monkeypatch) == 1
    assert found_in(Path("outputs"))[0]["status"] == "finished"
    assert list(Path("outputs").rglob("predictions.jsonl"))


@pytest.mark.parametrize("flag", ["-m", "--multirun"])
def test_keys_may_stand_behind_the_flag(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, flag: str) -> None:
    assert typed(monkeypatch, "seed=0,1", flag, "data_dir=/data", "model.epochs=3") == 0
    assert [(config.seed, config.data_dir, config.model.epochs) for config, _ in pipeline.ran] == [
        (0, "/data", 3),
        (1, "/data", 3),
    ]


@pytest.mark.usefixtures("to_the_end")
def test_a_sweep_as_typed(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, "dataset=banking77", "data_dir=/data", "seed=0,1,2,3,4", "-m") == 0
    assert [config.seed for config, _ in pipeline.ran] == [0, 1, 2, 3, 4]
    assert {config.data_dir for config, _ in pipeline.ran} == {"/data"}
    assert len({folder for _, folder in pipeline.ran}) == 5
    assert len({folder.parent for _, folder in pipeline.ran}) == 1
    (sweep_folder,) = Path("multirun_outputs/sweeps").iterdir()
    assert sweep_folder.name.startswith("dataset=banking77_data_dir=_data_seed=0_1_2_3_4-")
    text = (sweep_folder / "summary.md").read_text()
    assert "| banking77 | minilm | 5 | 92.00 ± 1.58 |" in text
    assert "92.00 ± 1.58" in capsys.readouterr().out
    assert (sweep_folder / "summary.csv").is_file()


def test_a_failing_job_is_reported_and_the_others_go_on(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, "seed=0,13,14,1", "-m") == 1
    assert [config.seed for config, _ in pipeline.ran] == [0, 13, 14, 1]
    output = capsys.readouterr()
    assert "seed=13 failed: data.csv:13: the label is empty; give one\n" in output.err
    assert output.err.count("Traceback") == 1
    assert "failed: seed=14: RuntimeError: a bug of two lines" in output.out
    assert "90.50 ± 0.71" in output.out
    statuses = sorted((found["seed"], found["status"]) for found in found_in(Path("multirun_outputs")))
    assert statuses == [(0, "finished"), (1, "finished"), (13, "failed"), (14, "failed")]


def test_memory_does_not_grow_from_job_to_job(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline.collects = True
    gc.disable()
    try:
        assert typed(monkeypatch, "seed=0,13,14,1,2", "-m") == 1
    finally:
        gc.enable()
    assert pipeline.alive == [0, 0, 0, 0, 0]


def test_a_sweep_goes_on_where_it_stopped(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, "seed=0,15,1", "-m") == 130
    assert "| telecom34 | minilm | 1 |" in next(Path("multirun_outputs").rglob("summary.md")).read_text()
    assert typed(monkeypatch, "seed=0,1", "-m") == 0
    assert [config.seed for config, _ in pipeline.ran] == [0, 15, 1]
    assert "90.50 ± 0.71" in capsys.readouterr().out
    assert typed(monkeypatch, "seed=0,1", "rerun=true", "-m") == 0
    assert [config.seed for config, _ in pipeline.ran] == [0, 15, 1, 0, 1]


@pytest.mark.usefixtures("to_the_end")
def test_a_sweep_has_a_report_and_a_single_run_has_none(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, "seed=0") == 0
    assert "report" not in capsys.readouterr().out
    assert typed(monkeypatch, "seed=0,1", "-m") == 0
    (path,) = Path("multirun_outputs/sweeps").glob("*/report.html")
    assert f"report: {path.absolute()}\n" in capsys.readouterr().out


@pytest.mark.usefixtures("to_the_end")
@pytest.mark.parametrize(
    ("trouble", "sentence"),
    [
        (RuntimeError("no\nfont"), "no report: RuntimeError: no font (python -m experiments.report "),
        (KeyboardInterrupt(), "no report: interrupted (python -m experiments.report "),
    ],
)
def test_a_report_that_fails_is_no_failure_of_the_sweep(
    pipeline: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    trouble: BaseException,
    sentence: str,
) -> None:
    def fail(folder: Path) -> Path:
        raise trouble

    monkeypatch.setattr("experiments.report.write", fail)
    assert typed(monkeypatch, "seed=0,1", "-m") == 0
    output = capsys.readouterr()
    assert sentence in output.err
    assert output.err.count("\n") == 1
    assert "summary: " in output.out
    assert typed(monkeypatch, "seed=0,13", "-m") == 1


@pytest.mark.usefixtures("to_the_end")
def test_without_what_draws_a_report_the_sweep_says_what_to_install(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("experiments.report")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jinja2", None)  # type: ignore[arg-type]  (as if it were not installed)
    assert typed(monkeypatch, "seed=0,1", "-m") == 0
    error = capsys.readouterr().err
    assert error.startswith("no report: jinja2 is not installed; pip install 'lrsl[experiments]' adds it (python -m ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("models", ["minilm,nope,bert", "nope,minilm,bert"])
def test_a_value_that_cannot_be_composed_does_not_keep_the_others_from_running(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], models: str
) -> None:
    assert typed(monkeypatch, f"model={models}", "seed=0,1", "-m") == 1
    assert [(config.model.name, config.seed) for config, _ in pipeline.ran] == [
        ("minilm", 0),
        ("minilm", 1),
        ("bert", 0),
        ("bert", 1),
    ]
    output = capsys.readouterr()
    assert output.err.startswith("model=nope failed: model=nope is unknown; use one of ")
    assert "failed: model=nope:" in output.out


def test_a_summary_is_logged_where_its_new_runs_are(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[tuple[list[dict[str, Any] | None], Path]] = []
    monkeypatch.setattr(
        command, "track", lambda lines, rows, folder: logged.append(([line.get("logger") for line in lines], folder))
    )
    assert typed(monkeypatch, "logger.project=mine", "seed=0,1", "-m") == 0
    assert typed(monkeypatch, "logger=csv", "seed=1,2", "-m") == 0
    ((first, folder), (second, _)) = logged
    assert [settings and settings["project"] for settings in first] == ["mine", "mine"]
    assert (folder / "summary.md").is_file()
    assert second[0] is None  # it had finished before
    assert second[1] is not None
    assert second[1]["name"] == "csv"
    assert typed(monkeypatch, "seed=15,3", "-m") == 130
    assert len(logged) == 2


def test_several_configurations_are_several_rows(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    assert typed(monkeypatch, "reranker.power=1,2", "seed=range(0,2)", "-m") == 0
    text = next(Path("multirun_outputs").rglob("summary.md")).read_text()
    assert "| telecom34 | minilm | reranker.power=1 | 2 |" in text
    assert "| telecom34 | minilm | reranker.power=2 | 2 |" in text


def test_an_experiment_brings_its_own_sweep(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    assert typed(monkeypatch, "experiment=table3", "seed=0,1", "dataset=banking77", "-m") == 0
    assert [(made.embedding.finetune, made.embedding.negatives, made.seed) for made, _ in pipeline.ran] == [
        *((True, "all", 0), (True, "all", 1), (True, "batch", 0), (True, "batch", 1), (False, "all", 0)),
        (False, "all", 1),
    ]
    assert len({folder.parent for _, folder in pipeline.ran}) == 3
    (sweep_folder,) = Path("multirun_outputs/sweeps").iterdir()
    assert sweep_folder.name.startswith("experiment=table3_seed=0_1_dataset=banking77-")
    text = (sweep_folder / "summary.md").read_text()
    for variant in ("full", "without_triplets", "without_finetuning"):
        assert f"| banking77 | minilm | embedding/ablation={variant} | 2 | 90.50 ± 0.71 |" in text
    assert typed(monkeypatch, "dataset=banking77", "seed=1", "-m") == 0  # it is the ablation in full
    assert typed(monkeypatch, "experiment=table3", "dataset=banking77", "-m") == 0
    assert len(pipeline.ran) == 6


def test_what_is_typed_replaces_what_an_experiment_sweeps(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, "experiment=table1", "model=minilm,nope", "seed=0,1", "-m") == 1
    assert [(made.model.name, made.seed) for made, _ in pipeline.ran] == [("minilm", 0), ("minilm", 1)]
    assert "failed: model=nope:" in capsys.readouterr().out


def test_what_does_not_apply_does_not_keep_the_rest_of_an_experiment_from_running(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, "experiment=table1", "dataset=banking77", "-m") == 1
    assert [made.model.name for made, _ in pipeline.ran] == ["bert", "roberta", "llama2", "mistral"]
    output = capsys.readouterr().out
    for model in ("convbert", "aphan", "hldic"):
        assert f"failed: model={model} experiment=table1 dataset=banking77: model" in output


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["sed=1"], ["seed=-1"]])
def test_torch_is_not_loaded_before_there_is_something_to_do(tmp_path: Path, arguments: list[str]) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['run.py', *{arguments!r}]; import run\n"
        "try: run.main()\n"
        "except SystemExit: pass\n"
        f"print([name for name in {UNLOADED!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_the_help_is_what_hydra_would_print(tmp_path: Path) -> None:
    ours, theirs = (
        subprocess.run(
            [sys.executable, str(ROOT / "run.py"), *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout
        for arguments in (["--help"], ["--help", "seed=0"])
    )
    assert ours == theirs


def test_the_help_says_what_can_be_typed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), "--help"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    groups = ("dataset: banking77, cmcc34, custom", "model: aphan, bert, convbert")
    for expected in (*groups, "seed=0,1,2,3,4 -m", "rerun=true"):
        assert expected in done.stdout
    assert not list(tmp_path.iterdir())
