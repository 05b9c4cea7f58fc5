"""FSDP over gloo on a CPU: a language model that two processes have a part of each, against one that has it all."""

import json
import os
from pathlib import Path

import pytest
import tiny
import torch
from forked import forked
from safetensors import safe_open
from safetensors.torch import load_file

import run
from lrsl.classifiers.llm import load_exported, nf4
from lrsl.data.corpus import Split

ROOT = Path(run.__file__).parent
PATHS = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))


@pytest.mark.parametrize(
    ("quantize", "precision", "stored", "within"),
    [("none", "32-true", "torch.float32", 1e-5), ("nf4", "bf16-mixed", "torch.bfloat16", 0.02)],
)
def test_a_sharded_language_model_learns_what_a_whole_one_learns(warm, tmp_path, quantize, precision, stored, within):
    llama = tiny.write_llama(tmp_path / "llama")
    words = [*forked(2, "sharded"), str(llama), quantize, precision, str(tmp_path)]
    done = warm(*words, cwd=tmp_path, env={**os.environ, "PYTHONPATH": PATHS})
    assert done.returncode == 0, done.stderr
    about = json.loads((tmp_path / "about.json").read_text())
    assert about["types"] == ["FSDPLLMClassifier", "FSDPLlamaDecoderLayer"]
    assert about["stored"] == [stored]
    assert about["here"] * 2 == about["all"]
    logits = load_file(tmp_path / "logits.safetensors")
    assert torch.allclose(logits["two"], logits["one"], atol=within)
    assert logits["one"].std() > 10 * within  # or equal logits would say nothing
    assert "continuing classifier within epoch 2 of 2" in done.stdout
    assert torch.equal(logits["resumed"], logits["two"])

    names = {}
    for number in ("one", "two"):
        with safe_open(tmp_path / number / "adapter" / "adapter_model.safetensors", framework="pt") as file:
            names[number] = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    assert names["two"] == names["one"]
    network = load_exported(tmp_path / "two" / "adapter")
    texts, labels = tiny.samples(50)
    samples = network.samples(Split(ids=[str(row) for row in range(50)], texts=texts, labels=labels))
    with torch.no_grad():
        again = network(samples.collate([samples[row] for row in range(50)]))
    assert torch.allclose(again, logits["two"], atol=within)


def test_4_bit_weights_that_are_to_be_sharded_lie_in_the_type_they_are_computed_in():
    sharded, whole = nf4(shards=True), nf4()
    assert sharded.bnb_4bit_quant_storage == sharded.bnb_4bit_compute_dtype == torch.bfloat16
    assert whole.bnb_4bit_quant_storage == torch.uint8
