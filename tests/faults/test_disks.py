"""Disks that are full, closed or in disorder: a sentence, status 1, and what was there stays."""

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import disks
import pytest
from typed import Typed

from lrsl import files

ROOT = Path(__file__).parents[2]
LIMITED = f"""
import resource, runpy, sys
size = int(sys.argv.pop(1))
if size:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
sys.path.insert(0, {str(ROOT)!r})
sys.argv[0] = "run.py"
runpy.run_path({str(ROOT / "run.py")!r}, run_name="__main__")
"""

Run = Callable[..., Any]


@pytest.fixture
def run(warm: Typed, tiny_corpus: Path, tiny_bert: Path) -> Run:
    """A function that types a command in a folder, perhaps with a limit on the size of files."""

    def typed(*more: str, cwd: Path, size: int = 0) -> Any:
        arguments = [
            *("dataset=custom", "dataset.name=tiny", "logger=csv", "trainer=cpu", f"model.pretrained={tiny_bert}"),
            *(f"embedding.pretrained={tiny_bert}", f"dataset.train={tiny_corpus / 'train.csv'}", "model.epochs=1"),
            *(f"dataset.test={tiny_corpus / 'test.csv'}", "embedding.epochs=1", "trainer.progress=false"),
        ]
        return warm("-c", LIMITED, str(size), *arguments, *more, cwd=cwd)

    return typed


def is_one_sentence(done: Any, *words: str) -> bool:
    said = done.stderr.splitlines()
    assert done.returncode == 1, done.stdout + done.stderr
    assert len(said) == 1, done.stderr
    assert all(word in said[0] for word in words), said
    return True


def test_files_that_may_not_grow(run: Run, tmp_path: Path) -> None:
    assert is_one_sentence(run(cwd=tmp_path, size=20_000), "File too large", "ulimit -f")
    assert not [path for path in (tmp_path / "cache").glob("classifier/*") if path.is_dir()]
    assert not list(tmp_path.glob("cache/.scratch/*"))


def test_a_file_where_results_should_go(run: Run, tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("mine")
    assert is_one_sentence(run(cwd=tmp_path), str(tmp_path / "outputs"), "a file is where a folder should be")
    assert (tmp_path / "outputs").read_text() == "mine"


@pytest.mark.parametrize("place", ["multirun_outputs", "multirun_outputs/sweeps"])
def test_a_file_where_a_sweep_should_go(run: Run, tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("mine")
    assert is_one_sentence(run("seed=0,1", "-m", cwd=tmp_path), f"{tmp_path / place}: a file is where a folder should")
    assert (tmp_path / place).read_text() == "mine"


def test_a_folder_where_the_record_of_a_sweep_should_go(run: Run, tmp_path: Path) -> None:
    assert run("model.epochs=x,y", "-m", cwd=tmp_path).returncode == 1
    (sweep,) = tmp_path.glob("multirun_outputs/sweeps/*")
    (sweep / "runs.jsonl").mkdir()
    said = run("model.epochs=x,y", "-m", cwd=tmp_path)
    assert is_one_sentence(said, f"{sweep / 'runs.jsonl'}: a folder is where a file should be")


@pytest.mark.parametrize("more", [[], ["seed=0,1", "-m"]], ids=["run", "sweep"])
def test_a_folder_where_the_log_should_go(run: Run, tmp_path: Path, more: list[str]) -> None:
    for folder in ("x", "m/0"):
        (tmp_path / folder / "run.log").mkdir(parents=True)
    folders = ["hydra.run.dir=x", "hydra.sweep.dir=m", "hydra.sweep.subdir=${seed}", "hydra.job.name=run"]
    done = run(*folders, *more, cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    log = tmp_path / ("m/0" if more else "x") / "run.log"
    assert f"{log}: a folder is where a file should be" in done.stderr


@pytest.mark.parametrize("name", ["r" * 5000, "r" * 300, "r/" * 2400])
def test_a_folder_with_a_name_too_long_for_a_disk_is_a_short_sentence(run: Run, tmp_path: Path, name: str) -> None:
    done = run(f"hydra.run.dir={name}", cwd=tmp_path)
    assert is_one_sentence(done, "File name too long")
    assert len(done.stderr) < 1000


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A function that mounts a file system of some size."""
    with ExitStack() as mounted:

        def mount(size: str, name: str = "small") -> Path:
            if not mounted.enter_context(disks.mounted(tmp_path / name, size)):
                pytest.skip("this process may not mount file systems")
            return tmp_path / name

        yield mount


@pytest.mark.parametrize("size", ["60k", "200k", "300k", "400k", "500k", "700k"])
def test_a_disk_that_is_full_at_some_time(run: Run, small: Callable[[str], Path], size: str) -> None:
    folder = small(size)
    done = run(cwd=folder)
    if done.returncode:
        assert is_one_sentence(done, "No space left on device")
    assert not list(folder.rglob("*.partial"))
    assert not list(folder.glob("cache/.scratch/*"))


def test_finished_results_survive_a_full_disk(run: Run, small: Callable[[str], Path]) -> None:
    folder = small("8m")
    assert run(cwd=folder).returncode == 0
    (results,) = folder.glob("outputs/**/results.json")
    before = results.read_bytes()
    subprocess.run(["dd", "if=/dev/zero", f"of={folder / 'rest'}", "bs=4k"], capture_output=True, check=False)
    done = run("model.lr=0.5", cwd=folder)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert results.read_bytes() == before


def test_a_full_folder_for_temporary_files_does_not_matter(
    run: Run, small: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(small("12k", "temporary")))
    (tmp_path / "work").mkdir()
    done = run(cwd=tmp_path / "work")
    assert done.returncode == 0, done.stderr


def test_a_store_that_is_mounted_read_only_serves(run: Run, small: Callable[[str], Path], tmp_path: Path) -> None:
    store = small("16m", "store")
    work = tmp_path / "work"
    work.mkdir()
    assert run(f"cache_dir={store}", cwd=work).returncode == 0
    subprocess.run(["mount", "-o", "remount,ro", str(store)], check=True)
    shutil.rmtree(work / "outputs")
    served = run(f"cache_dir={store}", cwd=work)
    assert served.returncode == 0, served.stderr
    assert "epoch" not in served.stdout
    assert "cannot be written to" not in served.stdout
    more = run(f"cache_dir={store}", "reranker.k=2", "seed=1", cwd=work)
    assert more.returncode == 0, more.stderr
    assert more.stdout.count("cannot be written to (Read-only file system)") == 1
    assert not list(work.glob("outputs/**/.scratch"))


def refused(number: int, *names: str) -> OSError:
    return OSError(number, os.strerror(number), *names)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (refused(errno.ENOSPC), "/store or /run: No space left on device; make room there"),
        (refused(errno.EDQUOT, "/x/y"), "/x/y: Disk quota exceeded; make room there"),
        (refused(errno.EROFS, "/x/y"), "/x/y: Read-only file system; work in a folder that can be written to"),
        (refused(errno.EACCES, "/x/y"), "/x/y: Permission denied; work in a folder that can be written to"),
        (refused(errno.EFBIG), "File too large; raise the limit"),
        (refused(errno.ENAMETOOLONG, "/x"), "File name too long"),
        (
            RuntimeError("[enforce fail at inline_container.cc:602] . PytorchStreamWriter failed writing file"),
            "No space",
        ),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), "No space left"),
        (refused(errno.ENOENT, "/x/y"), None),
        (refused(errno.EPIPE), None),
        (ConnectionError("no network"), None),
        (KeyError("(os error 28)"), None),
        (RuntimeError("CUDA error (os error 999)"), None),
    ],
)
def test_what_a_disk_refuses_is_told_from_bugs(error: Exception, said: str | None) -> None:
    told = files.trouble(error, [Path("/store"), Path("/run")])
    assert told is None if said is None else told is not None and said in told


def raised_while(number: int, error: Exception) -> Exception:
    """Return an error as it is when it was raised while another was handled."""
    error.__context__ = refused(number, "/x")
    return error


def test_what_lies_beneath_an_error_of_a_library_is_found() -> None:
    assert "No space" in str(files.trouble(raised_while(errno.ENOSPC, RuntimeError("basic_ios::clear"))))
    assert files.trouble(raised_while(errno.EEXIST, KeyError("a bug"))) is None


def test_the_obstacle_is_named(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("")
    with pytest.raises(NotADirectoryError) as raised:
        (tmp_path / "outputs" / "a" / "b").mkdir(parents=True)
    assert str(files.trouble(raised.value)).startswith(f"{tmp_path / 'outputs'}: a file is where a folder should be")


def test_a_file_is_whole_or_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.json"
    files.write(path, "before")

    def full(descriptor: int) -> None:
        raise refused(errno.ENOSPC)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write(path, "after")
    assert [one.name for one in tmp_path.iterdir()] == ["results.json"]
    assert path.read_text() == "before"
