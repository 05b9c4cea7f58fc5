"""The wheel: what is in it, and that it runs from an empty folder without the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from fabricated_runs import write_sweep

ROOT = Path(__file__).parents[1]
BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
SHORT = ["model.epochs=1", "embedding.epochs=1", "logger=csv", "trainer=cpu", "trainer.progress=false", "cache=false"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel holds."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-c", BUILD, str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("lrsl-*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "installed")
    return folder / "installed"


def typed(installed: Path, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    variables = os.environ | {"PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "lrsl", *arguments]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)


def test_it_holds_all_that_a_checkout_has(installed: Path) -> None:
    for ours, theirs in (("conf", "lrsl/conf"), ("hydra_plugins", "hydra_plugins"), ("lrsl/data", "lrsl/data")):
        for path in (ROOT / ours).rglob("*"):
            if path.suffix in {".py", ".yaml"}:
                assert (installed / theirs / path.relative_to(ROOT / ours)).is_file()
    for file in (
        "lrsl/py.typed",
        "lrsl/studies/experiments/paper.yaml",
        "lrsl/studies/experiments/report/page.css",
        "lrsl/serving/page/page.css",
    ):
        assert (installed / file).is_file()
    assert not (installed / "lrsl/studies/experiments/results").exists()
    assert not {"tests", "conf", "experiments", "run.py"} & {path.name for path in installed.iterdir()}


def test_it_knows_its_version_and_its_launchers(installed: Path, tmp_path: Path) -> None:
    version = next(
        line.split('"')[1] for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith("version")
    )
    assert typed(installed, tmp_path, "--version").stdout == f"lrsl {version}\n"
    shown = typed(installed, tmp_path, "run", "launcher=joblib", "--cfg", "hydra", "-p", "hydra.launcher")
    assert "hydra_plugins.lrsl_launchers.joblib.JoblibLauncher" in shown.stdout, shown.stderr
    assert typed(installed, tmp_path, "tables", "--help").stdout.startswith("usage: lrsl tables")


def test_what_it_records_goes_below_the_working_directory(installed: Path, tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "multirun_outputs", [{"seed": seed} for seed in (0, 1)])
    before = sorted(path for path in installed.rglob("*") if "__pycache__" not in path.parts)
    done = typed(installed, tmp_path, "record", str(sweep), "mine", "--commit", "abc")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("| `mine/` | `lrsl run ")
    assert "results/mine; entered in results/README.md" in done.stdout
    assert len(list(tmp_path.glob("results/mine/seed*/results.json"))) == 2
    assert sorted(path for path in installed.rglob("*") if "__pycache__" not in path.parts) == before
    assert "multirun_outputs, outputs, results" in " ".join(typed(installed, tmp_path, "tables", "-h").stdout.split())


def test_it_runs_from_an_empty_folder(installed: Path, tiny_corpus: Path, tiny_bert: Path, tmp_path: Path) -> None:
    done = typed(
        installed,
        tmp_path,
        "run",
        "dataset=custom",
        *(f"dataset.{split}={tiny_corpus}/{split}.csv" for split in ("train", "test")),
        *(f"{part}.pretrained={tiny_bert}" for part in ("model", "embedding")),
        *SHORT,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("reading custom …\n")
    assert list(tmp_path.glob("outputs/custom/minilm/*/seed0/results.json"))
