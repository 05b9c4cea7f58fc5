"""The benchmarks work: each section on a tiny network, and the page they are written into. No time is looked at."""

from __future__ import annotations

import importlib
import json
import random
from dataclasses import replace

import pytest
import tiny
import torch
from transformers import LlamaConfig

from experiments.benchmarks import __main__ as benchmarks
from experiments.benchmarks import busy, profiles, qlora, qlora_trainings, report, workload
from experiments.benchmarks.plan import Figure, Plan, Section
from experiments.benchmarks.turns import in_turns, repeatedly

PLAN = Plan(
    rows=2_000,
    texts=48,
    questions=48,
    calls=48,
    held_out=24,
    answers=24,
    singles=8,
    epochs=1,
    block=1,
    repeats=1,
    profile=True,
)


@pytest.fixture
def tiny_workload(tiny_corpus, tiny_bert, monkeypatch):
    """Every data set is the tiny corpus, every network the tiny one."""
    made = tiny.config(tiny_corpus, tiny_bert)
    made = replace(made, embedding=replace(made.embedding, negatives="all"))
    growth = importlib.import_module("experiments.benchmarks.growth")
    for module in (workload, growth):
        monkeypatch.setattr(module, "configured", lambda *_: made)
    monkeypatch.setattr(profiles, "STEPS", 2)
    for name, value in {"NETWORK": str(tiny_bert), "ROWS": 4, "TOKENS": 8, "SECONDS": 0.01}.items():
        monkeypatch.setattr(busy, name, value)
    monkeypatch.setattr(growth, "AXES", {"samples": (16, 32), "labels": (4, 8), "tokens": (8, 16)})
    monkeypatch.setattr(growth, "OTHERWISE", {"samples": 16, "labels": 4, "tokens": 8})
    monkeypatch.setenv(workload.DATA_DIR, str(tiny_corpus))


@pytest.mark.parametrize("name", benchmarks.SECTIONS)
def test_a_section_measures_and_is_written_down(name, tiny_workload, tmp_path, capsys):
    benchmarks.measure(name, PLAN, [], tmp_path)
    found = json.loads((tmp_path / report.RECORD).read_text(encoding="utf-8"))[name]
    assert found["figures"] or found["curves"]
    assert all(value > 0 for figure in found["figures"] for value in figure["values"])
    assert all(figure["values"] for figure in found["figures"])
    page = (tmp_path / report.PAGE).read_text(encoding="utf-8")
    assert f"`python -m experiments.benchmarks --section {name}`" in page
    assert f"torch {torch.__version__}" in page
    assert all(figure["name"] in page and figure["note"] in page for figure in found["figures"])
    assert all(table["title"] in page for table in found["tables"])
    assert (tmp_path / report.PLOT).exists() == bool(found["curves"])
    assert capsys.readouterr().out.startswith(f"{name}, measured in")


@pytest.mark.parametrize("name", ["embedding", "classifier", "overhead", "reranking", "inference", "stages"])
def test_without_the_data_lines_are_left_out_and_named(name, tiny_workload, tmp_path, monkeypatch):
    monkeypatch.delenv(workload.DATA_DIR)
    benchmarks.measure(name, replace(PLAN, profile=False), [], tmp_path)
    page = (tmp_path / report.PAGE).read_text(encoding="utf-8")
    assert "not measured: LRSL_DATA_DIR names no folder that holds banking77" in page


def test_a_section_measured_again_takes_the_place_of_what_it_was(tmp_path):
    for value in (1.0, 2.0):
        report.keep("door", Section("How.", [Figure("ratio", [value])]), PLAN, "command", tmp_path)
    report.keep("overhead", Section("How.", [Figure("other", [3.0])]), PLAN, "command", tmp_path)
    found = json.loads((tmp_path / report.RECORD).read_text(encoding="utf-8"))
    assert [section["figures"][0]["values"] for section in found.values()] == [[2.0], [3.0]]
    page = (tmp_path / report.PAGE).read_text(encoding="utf-8")
    assert "| ratio | 2.00 | 2.00 to 2.00 | 1 |" in page
    assert "| other | 3.00 |" in page


def test_the_command_line_chooses_sections(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(benchmarks, "measure", lambda name, plan, options, folder: asked.append((name, plan, options)))
    assert benchmarks.main(["--section", "door", "--full", "--clock", "cpu", "--out", str(tmp_path)]) == 0
    everything = Plan(texts=None, questions=None, calls=None, held_out=None, answers=None, epochs=None, clock="cpu")
    assert asked == [("door", everything, ["--full"])]
    asked.clear()
    benchmarks.main(["--out", str(tmp_path)])
    assert [name for name, _, _ in asked] == list(benchmarks.SECTIONS)


def test_qlora_is_compared_with_a_plain_script(tmp_path):
    shape = LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
    qlora_trainings.write_shape(shape, tmp_path, "cpu")
    *_, found = qlora_trainings.compare(tmp_path, "cpu", steps=2, tokens=24, batch_size=2, quantize="nf4")
    for lengths in qlora.LENGTHS:
        assert found[lengths][qlora.RATIO] > 0
        assert all(found[lengths][name]["tokens_per_second"] > 0 for name in qlora.SYSTEMS)


@pytest.mark.parametrize(
    ("figure", "met"),
    [
        (Figure("a", [2, 4, 9], at_least=3), True),
        (Figure("a", [1, 2, 9], at_least=3), False),
        (Figure("a", [1.0, 1.1, 9], at_most=1.05), False),
        (Figure("a", [1.0, 1.0, 9], at_most=1.05), True),
        (Figure("a", [1.0]), None),
        (Figure("a", at_least=3, note="not measured"), None),
    ],
)
def test_a_target_is_met_by_the_median(figure, met):
    assert figure.met is met
    assert ("missed" in "".join(report.row(figure))) == (met is False)


def test_trainings_take_turns_and_draw_as_if_they_were_alone():
    order = []

    def training(name, steps):
        def run(step):
            torch.manual_seed(0)
            drawn = []
            for _ in range(steps):
                order.append(name)
                drawn.append(torch.rand(1).item())
                step()
            return drawn

        return run

    ticks = iter(range(1000))
    done = in_turns({"a": training("a", 4), "b": training("b", 6)}, 2, lambda: next(ticks))
    assert "".join(order) == "aabbaabbbb"
    assert done["b"].value[:4] == done["a"].value
    assert len(set(done["b"].value)) == 6
    assert [len(timed.seconds) for timed in done.values()] == [1, 2]  # the first turn does not count


def test_a_training_that_fails_ends_all_and_is_raised():
    def fails(step):
        step()
        raise ValueError("out of luck")

    def goes_on(step):
        for _ in range(5):
            step()

    with pytest.raises(ValueError, match="out of luck"):
        in_turns({"a": goes_on, "b": fails, "c": goes_on}, 2, random.random)


def test_calls_take_turns_and_the_first_does_not_count():
    called = []
    works = {"a": lambda: called.append("a"), "b": lambda: called.append("b")}
    seconds = repeatedly(works, 2, iter(range(100)).__next__)
    assert "".join(called) == "ababab"
    assert seconds == {"a": [1, 1], "b": [1, 1]}


def test_rows_are_taken_evenly():
    texts, labels = tiny.samples(10)
    split = workload.Split([str(i) for i in range(10)], texts, labels)
    assert workload.evenly(split, 4).ids == ["0", "2", "5", "7"]
    assert workload.evenly(split, None) is workload.evenly(split, 99) is split
