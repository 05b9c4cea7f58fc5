"""The bookkeeping of `make soak`, on a program that tries nothing."""

import json
import time
from pathlib import Path

import pytest
import soak

STUB = """
import json, subprocess, sys, time
kind, record, *_ = sys.argv[1:]
options = dict(zip(sys.argv[3::2], sys.argv[4::2]))
number, wanted = int(options["--first"]), int(options.get("--wanted", 1))
with open(record, "a") as file:
    def tell(**told):
        print(json.dumps(told), file=file, flush=True)
    done = 0
    while done < wanted and number <= int(options.get("--last", 99)):
        tell(began=number, time=time.time())
        if kind == "slow":
            subprocess.Popen(["sleep", "100"], start_new_session=True)
            time.sleep(100)
        more = {"counts": {"things": 2, "of which odd": number % 2}}
        if kind == "bad" and number == 1:
            more = {"failed": "AssertionError: 1 is not 2"}
        if kind == "forbidden":
            more = {"skipped": "this process may not"}
        tell(number=number, seconds=6.0, at="2000-01-02", **more)
        done += 2
        number += 1
        if "skipped" in more:
            break
"""


def kind(name: str, wanted: int = 6, share: float = 1.0, lane: int = 0) -> soak.Kind:
    return soak.Kind(name, f"{name} things", lane, share, wanted)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "stub.py"
    path.write_text(STUB)
    return path


def test_what_is_there_is_not_tried_again(program: Path, tmp_path: Path) -> None:
    made = soak.soak([kind("good")], tmp_path / "records", 60, 0, program)
    assert [told["number"] for told in made["good"]] == [0, 1, 2]
    assert soak.total(made["good"]) == {"things": 6, "of which odd": 1}
    record = tmp_path / "records" / "good.jsonl"
    record.write_text("".join(record.read_text().splitlines(keepends=True)[:-1]))  # the last one has only begun
    assert soak.soak([kind("good")], tmp_path / "records", 60, 0, program) == made
    assert soak.soak([kind("good")], tmp_path / "records", 60, 0, Path("/nothing")) == made


def test_a_kind_is_cut_off_with_all_that_it_started(program: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    kinds = [kind("slow", share=0.3), kind("good", share=0.7), kind("beside", lane=1)]
    made = soak.soak(kinds, tmp_path / "records", 5, 0, program)
    assert time.monotonic() - began < 20
    assert [len(made[one.name]) for one in kinds] == [1, 3, 3]
    assert (made["slow"][0]["number"], made["slow"][0]["cut"]) == (0, True)
    assert "number 0 was cut off, as time was over, after" in soak.page(kinds, made, {}, 0)
    assert soak.soak([kind("slow", share=0)], tmp_path / "records", 1, 0, program)["slow"] == made["slow"]
    assert sleepers(tmp_path) == []


def test_a_program_that_fails_is_no_success(program: Path, tmp_path: Path) -> None:
    program.write_text("raise SystemExit(3)")
    with pytest.raises(RuntimeError, match=r"stub\.py good ended with status 3"):
        soak.soak([kind("good")], tmp_path / "records", 60, 0, program)


def sleepers(folder: Path) -> list[str]:
    """Return the processes that the stub has left."""
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cmdline").read_text() == "sleep\x00100\x00" and "/soak" in str((process / "cwd").readlink()):
                left.append(process.name)
        except OSError:
            continue
    return left


def test_what_hangs_has_failed(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "LONGEST", 0.5)
    (first, *_) = soak.soak([kind("slow")], tmp_path / "records", 3, 0, program)["slow"]
    assert first["number"] == 0
    assert first["failed"].startswith("it hung for ")


@pytest.mark.parametrize(("bad", "status"), [(False, 0), (True, 1)])
def test_the_page_says_what_was_tried_and_what_failed(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: bool, status: int
) -> None:
    kinds = (kind("good"), kind("bad", wanted=4 if bad else 2), kind("forbidden"), kind("late", share=0, lane=1))
    monkeypatch.setattr(soak, "KINDS", kinds)
    words = ["--page", str(tmp_path / "page.md"), "--records", str(tmp_path / "records"), "--note", "a stub"]
    assert soak.main(words, program) == status
    text = (tmp_path / "page.md").read_text()
    assert "| good things | 6 | 3 of 3 | 0 | 0.3 |" in text
    assert "| forbidden things | this process may not | | | |" in text
    assert "| late things | not tried: no time was left | | | |" in text
    assert "| date | 2000-01-02 |" in text
    assert "; a stub |" in text
    assert "- `good`: things 6, of which odd 1" in text
    assert ("Nothing of the above." in text) is not bad
    assert ("AssertionError: 1 is not 2" in text) is bad
    assert ("| bad things | 4 | 2 of 3 | 1 | 0.3 |" in text) is bad
    again = "python tests/faults/soak.py --only bad --number 1 --seed 0"
    assert (again in text) is bad
    if bad:
        assert soak.main([*again.split()[2:], *words], program) == 1


def test_the_attempts_are_those_that_the_soak_knows() -> None:
    source = soak.ATTEMPTS.read_text(encoding="utf-8")
    assert all(f'    "{one.name}": ' in source for one in soak.KINDS)
    for lane in (0, 1):
        assert sum(one.share for one in soak.KINDS if one.lane == lane) == pytest.approx(1)
    assert json.dumps(soak.variables("/x")["TMPDIR"]) == '"/x"'
