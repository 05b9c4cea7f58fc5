"""The store beside kills, pruning, file systems without locks, and folders that cannot be written to."""

import errno
import json
import multiprocessing
import os
import shutil
import signal
import socket
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lrsl import files
from lrsl.commands.store import main
from lrsl.run import locks, owner, scratch
from lrsl.run.store import MANIFEST, Store, entries, is_whole, lock_of, unfinished

FORK = multiprocessing.get_context("fork")
MADE_OF = {"seed": 0}


def writes(text: str, calls: list[str] | None = None, wait: float = 0.0) -> Callable[[Path], None]:
    """Return a stage that writes one file, after a while."""

    def make(folder: Path) -> None:
        if calls is not None:
            calls.append(text)
        time.sleep(wait)
        (folder / "result.txt").write_text(text)

    return make


def started(target: Callable[..., None], *args: object) -> "multiprocessing.process.BaseProcess":
    process = FORK.Process(target=target, args=args)
    process.start()
    return process


def ended(*processes: "multiprocessing.process.BaseProcess") -> list[int | None]:
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it has not come to that"
        time.sleep(0.01)


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def make_and_wait(folder: Path) -> None:
    Store(folder).get("stage", MADE_OF, writes("late", wait=60))


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A store in which one process was killed while it made something."""
    folder = tmp_path / "store"
    process = started(make_and_wait, folder)
    until(lambda: [path for path in folder.glob(".scratch/*/*/*") if path.parent.name != scratch.USES])
    os.kill(process.pid or 0, signal.SIGKILL)
    ended(process)
    return folder


def test_what_a_killed_run_leaves_is_listed_and_pruned(killed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (left,) = unfinished(killed)
    assert (left.state, left.stage) == ("left", ".scratch")
    assert main(["--dir", str(killed)]) == 0
    assert "left by runs that were killed" in capsys.readouterr().out
    assert main(["--dir", str(killed), "prune", "--unused-for", "30"]) == 0
    assert everything(killed) == set()
    assert not list(unfinished(killed))


def test_a_killed_run_does_not_keep_others_from_making_the_same(killed: Path) -> None:
    calls: list[str] = []
    place = Store(killed).get("stage", MADE_OF, writes("now", calls))
    assert calls == ["now"]
    assert is_whole(place)
    assert not list(unfinished(killed))  # what it has left is gone


def test_what_a_running_process_needs_is_not_pruned(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    process = started(make_and_wait, folder)
    until(lambda: list(folder.glob(".scratch/*/*/*")) and locks.is_held(lock_of(folder / "stage" / "x")) is None)
    until(lambda: list(folder.glob("stage/*.lock")))
    assert [entry.state for entry in unfinished(folder)] == ["running"]
    before = everything(folder)
    assert main(["--dir", str(folder), "prune", "--all"]) == 0
    assert everything(folder) >= {name for name in before if not name.endswith(".lock")}
    assert list(folder.glob("stage/*.lock"))  # it is held
    process.kill()
    ended(process)


@pytest.mark.parametrize(
    ("name", "state"),
    [
        (owner.mine, "running"),
        (lambda: f"{owner.host()}-999999999-1", "left"),
        (lambda: f"{owner.host()}-{os.getpid()}-1", "left"),  # the number has been given to another process
        (lambda: "elsewhere-1-1", "running"),
    ],
)
def test_owners_are_told_by_host_number_and_start(tmp_path: Path, name: Callable[[], str], state: str) -> None:
    place = tmp_path / ".scratch" / f"{name()}-abc_1234"
    place.mkdir(parents=True)
    assert [entry.state for entry in unfinished(tmp_path)] == [state]
    old = time.time() - scratch.UNLOCKED_FOR - 60
    os.utime(place, (old, old))
    assert [entry.state for entry in unfinished(tmp_path)] == ["running" if name() == owner.mine() else "left"]


def test_what_earlier_versions_left_is_pruned_unless_it_is_at_work(tmp_path: Path) -> None:
    place = tmp_path / "classifier" / ".x1y2z3" / "0123456789abcdef"
    place.mkdir(parents=True)
    (place / "best.ckpt").write_text("half")
    key = place.parent.parent / place.name
    with locks.lock(lock_of(key)):
        assert main(["--dir", str(tmp_path), "prune", "--all"]) == 0
        assert (place / "best.ckpt").is_file()
    assert main(["--dir", str(tmp_path), "prune", "--keep", "100"]) == 0
    assert everything(tmp_path) == set()


def test_a_training_that_can_go_on_is_kept_unless_it_is_old_or_everything_goes(tmp_path: Path) -> None:
    training = tmp_path / "classifier" / "0123456789abcdef.training"

    def write() -> None:
        training.mkdir(parents=True)
        (training / "state.pt").write_text("state")

    write()
    for kept in (
        ["--keep", "0"],
        ["--stage", "classifier"],
        ["--unused-for", "1"],
        ["--unused-for", "0", "--stage", "embedding"],
    ):
        assert main(["--dir", str(tmp_path), "prune", *kept]) == 0
        assert [entry.state for entry in unfinished(tmp_path)] == ["training"]
    with locks.lock(lock_of(training.with_suffix(""))):
        assert main(["--dir", str(tmp_path), "prune", "--all"]) == 0
        assert (training / "state.pt").is_file()
    old = time.time() - 3 * 86400
    for path in (training / "state.pt", training):
        os.utime(path, (old, old))
    assert main(["--dir", str(tmp_path), "prune", "--unused-for", "2"]) == 0
    assert not training.exists()
    write()
    assert main(["--dir", str(tmp_path), "prune", "--all"]) == 0
    assert not training.exists()


def read_over_and_over(folder: Path) -> None:
    for again in range(40):
        with Store(folder) as store:
            for key in range(3):
                places = [store.get("stage", {"seed": seed}, writes(f"{seed}")) for seed in range(key + 1)]
                for seed, place in enumerate(places):
                    assert (place / "result.txt").read_text() == str(seed), again
                    assert is_whole(place)


def test_pruning_beside_runs_never_harms_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    processes = [started(read_over_and_over, tmp_path) for _ in range(2)]
    pruned = 0
    while any(process.is_alive() for process in processes):
        assert main(["--dir", str(tmp_path), "prune", "--all"]) == 0
        pruned += 1
        time.sleep(0.005)
    assert ended(*processes) == [0, 0]
    assert pruned > 1
    assert "removed 1 of" in capsys.readouterr().out or pruned < 10  # it did remove what nobody used
    assert main(["--dir", str(tmp_path), "prune", "--all"]) == 0
    assert everything(tmp_path) == set()


def test_a_result_is_in_use_until_its_run_is_through(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(tmp_path) as store:
        place = store.get("stage", MADE_OF, writes("one"))
        assert main(["--dir", str(tmp_path), "prune", "--all"]) == 0
        assert (place / "result.txt").read_text() == "one"
        assert "1 of them are in use by runs, and stay" in capsys.readouterr().out
    assert main(["--dir", str(tmp_path), "prune", "--all"]) == 0
    assert everything(tmp_path) == set()


def count_up(folder: Path) -> None:
    for _ in range(30):
        with locks.lock(folder / "stage" / "key.lock", waiting="waiting"):
            number = int((folder / "count").read_text())
            time.sleep(0.001)
            (folder / "count").write_text(str(number + 1))


def without_locks(number: int) -> Callable[..., None]:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("refused", [None, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_lock_is_held_by_one_even_while_files_of_locks_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: int | None
) -> None:
    if refused is not None:
        monkeypatch.setattr("fcntl.flock", without_locks(refused))
    (tmp_path / "stage").mkdir()
    (tmp_path / "count").write_text("0")
    processes = [started(count_up, tmp_path) for _ in range(3)]
    while any(process.is_alive() for process in processes):
        main(["--dir", str(tmp_path), "prune", "--all"])
    assert ended(*processes) == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "90"
    assert everything(tmp_path) == {"count"}


def make_slowly(folder: Path, name: str) -> None:
    Store(folder).get("stage", MADE_OF, writes(name, wait=0.3))
    (folder.parent / name).write_text("through")


@pytest.mark.parametrize("refused", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_without_locks_a_result_is_made_once_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], refused: int
) -> None:
    monkeypatch.setattr("fcntl.flock", without_locks(refused))
    monkeypatch.setattr(locks, "_told", False)
    folder = tmp_path / "store"
    assert ended(*[started(make_slowly, folder, name) for name in ("one", "two")]) == [0, 0]
    (entry,) = entries(folder)
    assert not list(folder.glob("*/*.held"))
    assert (tmp_path / "one").is_file()
    assert (tmp_path / "two").is_file()
    assert is_whole(entry.place)
    assert capfd.readouterr().out.count("has no locks") == 2  # once per process


def test_without_locks_that_of_a_process_that_was_killed_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fcntl.flock", without_locks(errno.ENOLCK))
    marker = tmp_path / "key.lock.held"
    marker.write_text(f"{owner.host()}-999999999-1")
    with locks.lock(tmp_path / "key.lock", waiting="waiting"):
        assert marker.read_text() == owner.mine()
    assert not marker.exists()
    marker.write_text("elsewhere-1-1")  # of which nothing is known
    with pytest.raises(locks.HeldError), locks.lock(tmp_path / "key.lock"):
        pass


NO_MANIFESTS = ["[1]", "3", "null", '"files"', '{"files": [1]}', '{"files": 3}', "{}", "\udcff", '{"a":' * 50_000]


@pytest.mark.parametrize("content", NO_MANIFESTS, ids=lambda content: content[:12])
def test_a_manifest_that_is_none_is_made_again(tmp_path: Path, content: str) -> None:
    place = Store(tmp_path).get("stage", MADE_OF, writes("one"))
    (place / MANIFEST).write_bytes(content.encode("utf-8", "surrogateescape"))
    assert not is_whole(place)
    assert main(["--dir", str(tmp_path)]) == 0
    assert is_whole(Store(tmp_path).get("stage", MADE_OF, writes("one")))


def test_a_manifest_names_no_credentials(tmp_path: Path) -> None:
    asked = {"base_url": "https://user:hunter2xyz@example.org/v1", "seed": 1}
    about = "https://user:hunter2xyz@example.org, minilm"
    place = Store(tmp_path).get("stage", asked, writes("one"), about=about)
    assert "hunter2xyz" not in (place / MANIFEST).read_text()
    assert Store(tmp_path).get("stage", asked, writes("two"), about=about) == place
    assert (place / "result.txt").read_text() == "one"


def test_files_that_were_not_written_have_a_result_made_again(tmp_path: Path) -> None:
    place = Store(tmp_path).get("stage", MADE_OF, writes("one"))
    (place / "more").mkdir()
    (place / "more" / "planted.py").write_text("")
    assert not is_whole(place)
    Store(tmp_path).get("stage", MADE_OF, writes("one"))
    assert everything(place) == {MANIFEST, "result.txt"}


@pytest.mark.parametrize("where", ["key", "stage", "store"])
def test_a_file_where_a_folder_should_be(tmp_path: Path, where: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "store"
    place = Store(folder).place("stage", MADE_OF)
    obstacle = {"key": place, "stage": place.parent, "store": folder}[where]
    obstacle.parent.mkdir(parents=True, exist_ok=True)
    obstacle.write_text("mine")
    with Store(folder, spare=tmp_path / "run") as store:
        calls: list[str] = []
        for _ in range(2):
            made = store.get("stage", MADE_OF, writes("one", calls))
            assert (made / "result.txt").read_text() == "one"
        assert calls == ["one"]
    printed = capsys.readouterr().out
    if where == "key":
        assert is_whole(place)
    else:
        assert obstacle.read_text() == "mine"
        assert printed.count("cannot be written to") == printed.count("\n") == 1
    assert not (tmp_path / "run").exists() or everything(tmp_path / "run") == set()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user can reach."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    files.remove(folder)


def as_nobody(target: Callable[[], None]) -> None:
    """Do something in a process that modes hold for, which they do not for root."""

    def unprivileged() -> None:
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        target()

    assert ended(started(unprivileged)) == [0]


def test_a_store_that_is_read_only_serves_and_what_it_lacks_is_made_beside(
    open_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = open_folder / "store"
    Store(folder).get("stage", MADE_OF, writes("one"))
    shutil.rmtree(folder / ".scratch", ignore_errors=True)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)

    def serve() -> None:
        with Store(folder, spare=open_folder / "run") as store:
            assert (store.get("stage", MADE_OF, writes("two")) / "result.txt").read_text() == "one"
            assert (store.get("stage", {"seed": 1}, writes("more")) / "result.txt").read_text() == "more"
            assert (store.get("stage", {"seed": 2}, writes("most")) / "result.txt").read_text() == "most"

    before = everything(folder)
    as_nobody(serve)
    assert everything(folder) == before
    assert everything(open_folder / "run") == set()
    printed = capfd.readouterr().out
    assert printed.count("cannot be written to (Permission denied)") == printed.count("\n") == 1


def test_an_entry_that_cannot_be_read_is_made_again_and_can_be_pruned(open_folder: Path) -> None:
    folder = open_folder / "store"

    def shut_and_ask() -> None:
        place = Store(folder).get("stage", MADE_OF, writes("one"))
        for mode, shut in ((0, place), (0, place / "result.txt"), (0, place / MANIFEST)):
            shut.chmod(mode)
            assert (Store(folder).get("stage", MADE_OF, writes("two")) / "result.txt").read_text() == "two"
            assert stat.S_IMODE(place.stat().st_mode) & 0o700 == 0o700
        place.chmod(0)
        assert main(["--dir", str(folder), "prune", "--all"]) == 0
        assert not place.exists()

    as_nobody(shut_and_ask)


def test_temporary_files_of_libraries_lie_in_the_store(tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        with tempfile.NamedTemporaryFile(dir=None) as file:
            assert Path(file.name).is_relative_to(tmp_path)
        (folder / "result.txt").write_text("one")

    before = tempfile.gettempdir()
    Store(tmp_path).get("stage", MADE_OF, make)
    assert tempfile.gettempdir() == before


def test_a_manifest_is_on_disk_before_its_folder_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[str, str]] = []
    sync, rename = files.sync, Path.rename
    monkeypatch.setattr(files, "sync", lambda path: (done.append(("sync", path.name)), sync(path)))
    monkeypatch.setattr(Path, "rename", lambda path, new: (done.append(("rename", path.name)), rename(path, new))[1])
    place = Store(tmp_path).get("stage", MADE_OF, writes("one"))
    assert done == [
        ("sync", f"{MANIFEST}{files.PARTIAL}"),
        ("sync", place.name),
        ("rename", place.name),
        ("sync", "stage"),
    ]


def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path: Path) -> None:
    place = Store(tmp_path).get("stage", MADE_OF, writes("one"))

    def full(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left"):
        Store(tmp_path, again=True).get("stage", MADE_OF, full)
    assert is_whole(place)
    assert not list(tmp_path.rglob("half.txt"))
    assert json.loads((place / MANIFEST).read_text())["files"].keys() == {"result.txt"}


def test_a_host_may_be_called_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "my-host.example/..")
    assert owner.of(owner.mine()) == (owner.host(), os.getpid(), owner.mine().rpartition("-")[2])
    assert owner.runs(owner.mine())
