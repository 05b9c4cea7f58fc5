"""Labels of strangers: no spreadsheet computes them, no terminal obeys them, and nobody loses what they were."""

import csv
import io
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from experiments.runs import collect
from lrsl.errors import InputError
from lrsl.screen import literal
from lrsl.sweep import summary
from lrsl.text import cell, from_cell, shortened, visible
from lrsl.tracking.csv_run import CsvRun

FORMULAS = [
    '=HYPERLINK("https://stranger.example","click")',
    "+1+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    " =1+1",
    "\u200b=1+1",
    "\ufeff=1+1",
    "\uff1d1+1",
    "'=1+1",
    "''=1+1",
]
ESCAPES = ["\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\x08\x08", "\u202egpj.exe", "\u2066a", "\x7f", "a\rb"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_text_and_comes_back(text):
    assert cell(text)[0] == "'"
    assert cell(text)[1:] == text
    assert from_cell(cell(text)) == text


@pytest.mark.parametrize(
    "value", ["card", "-1", "+0.41", "-0.5", "+0.41 ± 0.05", "1e-5", 0.5, -3, None, True, "", "'tis"]
)
def test_what_is_no_formula_stays(value):
    assert cell(value) == value
    if isinstance(value, str):
        assert from_cell(value) == value


@given(st.text())
def test_any_text_comes_back_and_none_is_computed(text):
    assert from_cell(cell(text)) == text
    assert cell(text)[:1] not in {"=", "@", "\t", "\r"}


@pytest.mark.parametrize("text", FORMULAS)
def test_every_csv_file_is_safe_to_open(tmp_path, text):
    """The table of hard samples, the summary of a sweep and the table of runs."""
    run = CsvRun(tmp_path)
    run.table("hard_samples", ["id", text], [["test-0", text]])
    summary.save([summary.Summary(text, text, text)], tmp_path)
    out = io.StringIO()
    found = collect.Run(Path("x"), text, text, 0, text, {}, {"dataset": text, "model": text})
    collect.write([found], out)
    contents = [(tmp_path / name).read_bytes().decode() for name in ("hard_samples.csv", "summary.csv")]
    for content, true in zip((*contents, out.getvalue()), (text, visible(text), visible(text)), strict=True):
        cells = [each for row in csv.reader(io.StringIO(content, newline="")) for each in row]
        assert not [each for each in cells if each[:1] in ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d")]
        assert true in map(from_cell, cells)


@pytest.mark.parametrize("text", ESCAPES)
def test_no_terminal_is_given_a_command(text):
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    console.print(literal(f"a label {text}"))
    for shown in (console.file.getvalue(), str(InputError(f"the label {text} is wrong")), visible(text)):
        assert not {*"\x1b\x9b\x07\x08\x7f\u202e\u2066\r"} & {*shown}
        assert "\\" in shown


def test_a_summary_that_is_read_in_a_terminal_gives_none_either(tmp_path):
    summary.save([summary.Summary("a\x1b[2J", "b", "c\nd|e", failed=["x\x1b]0;t\x07"])], tmp_path)
    text = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert "\x1b" not in text
    assert "c d\\|e" in text


def test_labels_in_a_card_and_in_remarks_give_none(tmp_path, capsys):
    from lrsl.commands.card import main

    label = "lost \x1b[31mcard"
    rows = [["text", "label"], *([f"text {i}", [label, "other"][i % 2]] for i in range(20)), ["text 1", label]]
    with (tmp_path / "train.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    name = tmp_path / "train.csv"
    assert main(["dataset=custom", f"dataset.train={name}", f"dataset.test={name}", "dataset.name='a\x1b[2Jb'"]) == 0
    shown = capsys.readouterr()
    assert "\x1b[31m" not in shown.out + shown.err
    assert "\\x1b[31mcard" in shown.out
    assert sys.stdout


def test_what_is_very_long_is_cut_in_the_middle():
    assert len(shortened("x" * 10**6)) < 300
    assert len(shortened("word " * 10**5)) < 2000
    assert shortened("a sentence") == "a sentence"
