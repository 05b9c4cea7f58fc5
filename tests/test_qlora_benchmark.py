"""The benchmark of QLoRA, which needs a GPU: what it says, and what it finds where trainings are stood in for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig

from experiments.benchmarks import qlora, qlora_trainings

ROOT = Path(__file__).parents[1]
TINY = LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
OPTIONS: Mapping[str, Any] = {"steps": 2, "tokens": 24, "batch_size": 2, "quantize": "nf4"}


def of_shape(peak: float = 11.5, ratio: float = 1.5) -> dict[str, Any]:
    result = {"ours": {"tokens_per_second": ratio, qlora.PEAK: peak}, "peer": {"tokens_per_second": 1.0}}
    return {lengths: {**result, qlora.RATIO: ratio} for lengths in qlora.LENGTHS}


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """What trainings find, by shape, as if there were a GPU."""
    found = {shape: of_shape() for shape in qlora.SHAPES}

    def write(shape: str, folder: Path, out: Path, options: Mapping[str, Any]) -> int:
        assert folder.is_dir()
        assert {*options} == {*OPTIONS}
        out.write_text(json.dumps({**json.loads(out.read_text()), shape: found[shape]}))
        return 0 if found[shape] else -9

    monkeypatch.setattr(qlora, "in_a_process", write)
    monkeypatch.setattr(qlora, "without_gpu", lambda: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    return found


def test_a_peer_that_fails_leaves_our_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def trains(_work: object, _folder: Path, meter: qlora_trainings.Meter) -> None:
        for _ in range(5):
            meter.batch({"attention_mask": torch.ones(2, 3)})
            meter.step()

    qlora_trainings.write_shape(TINY, tmp_path, "cpu")
    monkeypatch.setattr(qlora_trainings, "TRAININGS", {"ours": trains, "peer": fails})
    first, *_, found = (json.loads(json.dumps(one)) for one in qlora_trainings.compare(tmp_path, "cpu", **OPTIONS))
    assert {*first["full"]} == {"ours"}
    assert found["dialogues"]["ours"]["tokens_per_second"] > 0
    assert found["dialogues"]["peer"] == {"failed": "out of memory"}
    told = qlora.missed(found)
    assert told[:2] == [f"peer failed (out of memory) on {lengths} texts" for lengths in qlora.LENGTHS]
    assert told[2:] == ["the speeds cannot be compared"]


def test_a_meter_counts_real_tokens_once_it_is_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = qlora_trainings.Meter(torch.device("cpu"))
    monkeypatch.setattr(qlora_trainings.time, "perf_counter", iter([5.0, 6.0, 7.0, 9.0, 11.0]).__next__)
    for real in (100, 100, 100, 3, 5):
        meter.batch({"attention_mask": torch.tensor([[1] * real + [0]])})
        meter.step()
    assert meter.tokens_per_second == 8 / 4


@pytest.mark.parametrize(("loading", "training"), [(20.0, 12.0), (12.0, 20.0)])
def test_the_peak_is_the_larger_of_loading_and_training(
    loading: float, training: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserved = iter([loading, training])
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 2**30)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: round(2**30 * next(reserved)))
    for name in ("reset_peak_memory_stats", "synchronize"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)

    def trains(_work: object, _folder: object, meter: qlora_trainings.Meter) -> None:
        for _ in range(5):
            meter.batch({"attention_mask": torch.ones(2, 3)})
            meter.step()

    monkeypatch.setattr(qlora_trainings, "TRAININGS", {"ours": trains})
    work: Any = None
    found = qlora_trainings.measure("ours", work, Path(), torch.device("cuda"))
    assert (found["loading"]["reserved_gib"], found["training"]["reserved_gib"]) == (loading, training)
    assert found[qlora.PEAK] == 20.0


def test_the_names_of_shapes_are_those_of_the_trainings() -> None:
    assert {*qlora.SHAPES} == {*qlora_trainings.SHAPES}


def test_both_shapes_are_measured_and_one_where_it_is_chosen(
    trained: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert qlora.main(["--out", str(tmp_path / "both.json")]) == 0
    captured = capsys.readouterr()
    assert captured.err.endswith("all targets are met\n")
    found = json.loads(captured.out)
    assert [*found] == [*qlora.SHAPES]
    assert found["llama-2-7b"]["fits_the_papers_card"] is found["llama-2-7b"]["fast_enough"] is True
    assert json.loads((tmp_path / "both.json").read_text()) == found
    assert qlora.main(["--shape", "llama-2-7b"]) == 0
    assert [*json.loads(capsys.readouterr().out)] == ["llama-2-7b"]
    assert qlora.os.environ["CUDA_VISIBLE_DEVICES"] == "3"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (of_shape(peak=24.0), ["ours needs 24.00 GiB, which is not under 24"]),
        (of_shape(ratio=1.29), ["ours is 1.29 times as fast as the peer, which is not 1.3"]),
        (
            {},
            [
                *(
                    f"{system} was not measured on {lengths} texts"
                    for lengths in qlora.LENGTHS
                    for system in qlora.SYSTEMS
                ),
                "its process ended early, with status -9",
                "the speeds cannot be compared",
            ],
        ),
    ],
)
def test_targets_that_are_missed_are_named(
    found: dict[str, Any], said: list[str], trained: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    trained["mistral-7b"] = found
    assert qlora.main([]) == 1
    captured = capsys.readouterr()
    assert captured.err.splitlines()[2:] == [f"mistral-7b: {sentence}" for sentence in said]
    assert json.loads(captured.out)["mistral-7b"].get("exit_status") == (None if found else -9)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--steps", "0"], "--steps 0 does not work; it must be at least 1"),
        (["--batch-size", "-1"], "--batch-size -1 does not work; it must be at least 1"),
        (["--tokens", "5000"], "--tokens 5000 does not work; it must be from 1 to 4096"),
        (["--out", "none/a.json"], "--out none/a.json is in a folder that does not exist; make none first"),
        (["--out", "."], "--out . is a folder; name a file"),
        (["--folder", "none"], "--folder none does not exist; make it first"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert qlora.main(arguments) == 1
    assert capsys.readouterr().err == f"{said}\n"


def typed(*arguments: str) -> subprocess.CompletedProcess[str]:
    blocked = "import sys; sys.modules['transformers'] = sys.modules['bitsandbytes'] = None; "
    start = "import runpy; runpy.run_module('experiments.benchmarks.qlora', run_name='__main__')"
    command = [sys.executable, "-c", blocked + start, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_sentence_stands_alone() -> None:
    done = typed()
    said = "this benchmark needs a GPU, and torch finds none here; run it on a machine with CUDA\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)


def test_help_loads_nothing_and_has_an_example() -> None:
    done = typed("--help")
    assert done.returncode == 0
    assert "Example: python -m experiments.benchmarks.qlora" in " ".join(done.stdout.split())


def test_results_are_kept_as_they_come_beside_those_of_the_other_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.json"
    out.write_text('{"llama-2-7b": {"full": {}}, "mistral-7b": {}}')
    kept: list[Any] = []

    def trains(_work: object, _folder: Path, meter: qlora_trainings.Meter) -> None:
        kept.append(json.loads(out.read_text())["mistral-7b"].get("full", {}).keys())
        for _ in range(5):
            meter.batch({"attention_mask": torch.ones(2, 3)})
            meter.step()

    monkeypatch.setattr(qlora_trainings, "TRAININGS", {"ours": trains, "peer": trains})
    monkeypatch.setattr(qlora_trainings, "SHAPES", {"mistral-7b": TINY})
    qlora.train("mistral-7b", tmp_path / "weights", out, OPTIONS, "cpu")
    assert [{*names} for names in kept[:3]] == [set(), {"ours"}, {"ours", "peer", qlora.RATIO}]
    found = json.loads(out.read_text())
    assert found["llama-2-7b"] == {"full": {}}
    assert found["mistral-7b"]["versions"]["torch"] == torch.__version__
    assert qlora.judged(found["mistral-7b"])["fits_the_papers_card"] is None


def test_a_process_that_ends_tells_its_status(tmp_path: Path) -> None:
    assert qlora.in_a_process("no-such-shape", tmp_path, tmp_path / "out.json", OPTIONS) == 1
