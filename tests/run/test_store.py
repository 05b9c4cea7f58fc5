import multiprocessing
import os
import time
from pathlib import Path

import pytest

from lrsl.commands.store import main
from lrsl.run import locks, store
from lrsl.run.store import MANIFEST, Store, entries, is_whole, link

MADE_OF = {"seed": 0, "data": ["a", "b"]}


def writes(text, calls=None):
    """Return a stage that writes one file in a folder of its own, and remembers being called."""

    def make(folder):
        if calls is not None:
            calls.append(text)
        (folder / "sub").mkdir()
        (folder / "sub" / "result.txt").write_text(text)

    return make


def read(place):
    return (place / "sub" / "result.txt").read_text()


def test_a_result_is_made_once_for_what_it_is_made_of(tmp_path):
    calls = []
    first = Store(tmp_path).get("stage", MADE_OF, writes("one", calls))
    again = Store(tmp_path).get("stage", dict(reversed(MADE_OF.items())), writes("two", calls))
    assert first == again
    assert read(again) == "one"
    assert calls == ["one"]


@pytest.mark.parametrize(
    ("stage", "made_of"), [("other", MADE_OF), ("stage", {**MADE_OF, "seed": 1}), ("stage", {"seed": 0})]
)
def test_anything_else_is_another_result(tmp_path, stage, made_of):
    place = Store(tmp_path).get("stage", MADE_OF, writes("one"))
    other = Store(tmp_path).get(stage, made_of, writes("two"))
    assert (read(place), read(other)) == ("one", "two")


def test_what_fails_leaves_nothing_and_is_tried_again(tmp_path):
    def fail(folder):
        (folder / "half.txt").write_text("half")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        Store(tmp_path).get("stage", MADE_OF, fail)
    assert list(entries(tmp_path)) == []
    assert not list(tmp_path.rglob("half.txt"))
    assert read(Store(tmp_path).get("stage", MADE_OF, writes("one"))) == "one"


@pytest.mark.parametrize("damage", ["changed", "missing", "manifest"])
def test_a_damaged_result_is_made_again(tmp_path, damage, monkeypatch):
    place = Store(tmp_path).get("stage", MADE_OF, writes("one"))
    if damage == "changed":
        (place / "sub" / "result.txt").write_text("two")
    elif damage == "missing":
        (place / "sub" / "result.txt").unlink()
    else:
        (place / MANIFEST).write_text("{")
    assert not is_whole(place)
    assert read(Store(tmp_path).get("stage", MADE_OF, writes("one"))) == "one"
    assert is_whole(place)


def test_again_makes_everything_once_more_and_keeps_that(tmp_path):
    Store(tmp_path).get("stage", MADE_OF, writes("one"))
    anew = Store(tmp_path, again=True)
    calls = []
    for _ in range(2):
        assert read(anew.get("stage", MADE_OF, writes("two", calls))) == "two"
    assert calls == ["two"]
    assert read(Store(tmp_path).get("stage", MADE_OF, writes("three"))) == "two"


def slow(folder, name):
    def make(place):
        time.sleep(0.5)
        (place / "by.txt").write_text(name)
        with (folder / "made.txt").open("a") as file:
            file.write(f"{name}\n")

    Store(folder / "store").get("stage", MADE_OF, make)


def test_two_processes_that_want_the_same_make_it_once(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=slow, args=(tmp_path, name)) for name in ("one", "two")]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert len((tmp_path / "made.txt").read_text().splitlines()) == 1


def test_links_share_the_files_and_replace_what_was_there(tmp_path):
    place = Store(tmp_path / "store").get("stage", MADE_OF, writes("one"))
    target = tmp_path / "run" / "classifier"
    target.mkdir(parents=True)
    (target / "old.txt").write_text("old")
    link(place, target)
    assert [path.relative_to(target).as_posix() for path in target.rglob("*.*")] == ["sub/result.txt"]
    assert (target / "sub" / "result.txt").samefile(place / "sub" / "result.txt")


def test_links_are_copies_where_the_file_system_has_none(tmp_path, monkeypatch):
    def no_link(source, target):
        raise OSError("cross-device link")

    monkeypatch.setattr(os, "link", no_link)
    place = Store(tmp_path / "store").get("stage", MADE_OF, writes("one"))
    link(place, tmp_path / "run")
    assert (tmp_path / "run" / "sub" / "result.txt").read_text() == "one"
    assert not (tmp_path / "run" / "sub" / "result.txt").samefile(place / "sub" / "result.txt")


@pytest.fixture
def filled(tmp_path):
    """A store with two classifiers, the first unused for ten days, and one embedding."""
    folder = tmp_path / "store"
    for i, stage in enumerate(["classifier", "classifier", "embedding"]):
        place = Store(folder).get(stage, {"seed": i}, writes("x" * 1000), about=f"tiny, seed {i}")
        days = (10, 2, 1)[i]
        os.utime(place / MANIFEST, (time.time() - 86400 * days,) * 2)
    return folder


def test_the_list_shows_stages_and_sizes(filled, capsys):
    assert main(["--dir", str(filled), "list"]) == 0
    shown = capsys.readouterr().out
    for expected in ("3 results", "classifier", "embedding", "tiny, seed 2", "kB"):
        assert expected in shown


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (["--unused-for", "5"], [1, 2]),
        (["--stage", "classifier"], [2]),
        (["--stage", "classifier", "--unused-for", "5"], [1, 2]),
        (["--keep", "0.000003"], [1, 2]),
        (["--keep", "1"], [0, 1, 2]),
        (["--all"], []),
    ],
)
def test_pruning_removes_what_is_chosen(filled, arguments, left, capsys):
    assert main(["--dir", str(filled), "prune", *arguments]) == 0
    assert [entry.about for entry in entries(filled)] == [f"tiny, seed {i}" for i in left]
    assert f"removed {3 - len(left)} of 3 results" in capsys.readouterr().out


def test_pruning_without_a_choice_removes_nothing(filled, capsys):
    assert main(["--dir", str(filled), "prune"]) == 2
    assert "give --unused-for" in capsys.readouterr().err
    assert len(list(entries(filled))) == 3


@pytest.mark.parametrize("flag", ["--unused-for", "--keep"])
@pytest.mark.parametrize("value", ["-1", "-0.5", "nan", "inf", "-inf", "-1e9", "1e999", "two", "", "1,5"])
def test_a_number_that_chooses_nothing_sensible_is_refused(filled, flag, value, capsys):
    for arguments in ([f"{flag}={value}"], [flag, value], [flag, value, "--all"]):
        assert main(["--dir", str(filled), "prune", *arguments]) == 2
        output = capsys.readouterr()
        assert (output.out, output.err.count("\n")) == ("", 1)
        assert flag in output.err
    assert len(list(entries(filled))) == 3


@pytest.mark.parametrize(
    ("stage", "hint"), [("clasifier", "did you mean 'classifier'?"), ("", "choose one of"), ("*", "choose one of")]
)
def test_an_unknown_stage_is_refused(filled, stage, hint, capsys):
    assert main(["--dir", str(filled), "prune", "--stage", stage, "--unused-for", "0"]) == 2
    error = capsys.readouterr().err
    assert f"--stage={stage} is no stage" in error
    assert hint in error
    assert error.count("\n") == 1
    assert len(list(entries(filled))) == 3


@pytest.mark.parametrize("more", [["--unused-for", "5"], ["--keep", "1"], ["--stage", "logits"]])
def test_everything_and_something_is_refused(filled, more, capsys):
    assert main(["--dir", str(filled), "prune", "--all", *more]) == 2
    assert capsys.readouterr().err.startswith("--all removes everything, and what else is given would spare some")
    assert len(list(entries(filled))) == 3


def test_a_stage_of_another_version_can_be_pruned(filled, capsys):
    Store(filled).get("vectors", {"seed": 9}, writes("x"))
    assert main(["--dir", str(filled), "prune", "--stage", "vectors"]) == 0
    assert "removed 1 of 4" in capsys.readouterr().out
    assert main(["--dir", str(filled), "prune", "--stage", "tokens"]) == 0  # there may be none
    assert "removed 0 of 3" in capsys.readouterr().out


def test_what_is_mistyped_is_one_sentence(filled, capsys):
    for arguments in (["prnue"], ["prune", "--older-than", "3"], ["prune", "--keep"]):
        assert main(["--dir", str(filled), *arguments]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "--help" in error


def test_zero_is_a_number_like_any_other(filled, capsys):
    assert main(["--dir", str(filled), "prune", "--keep", "0", "--stage", "embedding"]) == 0
    assert main(["--dir", str(filled), "prune", "--unused-for", "0"]) == 0
    assert not list(entries(filled))


def test_what_is_being_made_is_not_removed(filled):
    entry = next(entries(filled))
    with locks.lock(store.lock_of(entry.place)):
        assert not store.remove(entry)
    assert entry.place.exists()
    assert store.remove(entry)


def test_an_empty_store_is_listed_as_empty(tmp_path: Path, capsys):
    assert main(["--dir", str(tmp_path / "none")]) == 0
    assert "0 results" in capsys.readouterr().out
