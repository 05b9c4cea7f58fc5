"""What people name as `model.pretrained`: it works, or it is one sentence."""

from dataclasses import replace
from pathlib import Path

import networks
import pytest
import tiny
import torch

from lrsl.classifiers.build import build_network
from lrsl.config.schema import ModelConfig
from lrsl.data.corpus import Corpus, Split
from lrsl.errors import InputError
from lrsl.run import pipeline

CAUSAL = {"llama", "gemma2", "mistral", "qwen2", "gpt2", "opt"}
UNUSED = ("pool", "contact_head", "_global")
"""Parts of networks that take no part in the states of a text."""
TEXTS = ["card1 loan2", "card1 rate3 please", " ".join(["rate word7"] * 60), ""]


@pytest.fixture
def corpus() -> Corpus:
    rows = Split(list("0123"), TEXTS, [0, 1, 2, 3])
    return Corpus("four", tiny.LABELS, tiny.LABELS, rows, rows, rows, groups=["money", "money", "credit", "credit"])


def settings(folder: Path, **changed: object) -> ModelConfig:
    return replace(ModelConfig("tiny", pretrained=str(folder)), **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize("architecture", ["encoder", "hldic"])
@pytest.mark.parametrize("kind", sorted(set(networks.KINDS) - {"vit"}))
def test_any_network_of_texts_is_trained_whole(corpus: Corpus, tmp_path: Path, kind: str, architecture: str) -> None:
    folder = networks.write(kind, tmp_path)
    network = build_network(settings(folder, pooling="mean", architecture=architecture), corpus).train()
    rows = network.samples(corpus.train)
    batch = rows.collate([rows[row] for row in range(4)])
    offset = 2 if networks.KINDS[kind][1].get("pad_token_id") == 1 and kind not in ("opt", "bart") else 0
    assert network.max_length == (ModelConfig.max_length if kind == "t5" else 64 - offset)
    assert min(network.max_length, 120) - 2 <= batch["input_ids"].shape[1] <= network.max_length
    loss = network.loss(batch)
    loss.backward()
    assert loss.isfinite()
    unused = {name for name, of in network.named_parameters() if of.requires_grad and of.grad is None}
    assert not [name for name in unused if not any(part in name for part in UNUSED)]
    logits = network.eval()(batch)
    assert logits.shape == (4, 4)
    assert (logits[0] - logits[1]).abs().max() > 1e-6  # it has seen the texts


@pytest.mark.parametrize("kind", sorted(CAUSAL))
def test_the_first_token_of_what_reads_from_left_to_right_is_refused(corpus: Corpus, tmp_path: Path, kind: str) -> None:
    folder = networks.write(kind, tmp_path)
    for pooling in (None, "cls"):
        with pytest.raises(InputError) as caught:
            build_network(settings(folder, pooling=pooling), corpus)
        assert str(caught.value).startswith(f"model.pretrained={folder} reads from left to right")
        assert "set model.pooling=mean" in str(caught.value)


@pytest.mark.parametrize("kind", sorted(set(networks.KINDS) - CAUSAL - {"vit"}))
def test_the_first_token_of_others_is_not(corpus: Corpus, tmp_path: Path, kind: str) -> None:
    assert build_network(settings(networks.write(kind, tmp_path)), corpus)


def test_a_network_of_images_is_one_sentence(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=rf"^model.pretrained={tmp_path} is no encoder of texts \(.+\); give one"
    ) as caught:
        build_network(settings(networks.write("vit", tmp_path)), corpus)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["t5", "vit"])
def test_what_is_no_language_model_is_one_sentence(corpus: Corpus, tmp_path: Path, kind: str) -> None:
    with pytest.raises(InputError, match=rf"^model.pretrained={tmp_path} is no .*give one") as caught:
        build_network(settings(networks.write(kind, tmp_path), architecture="llm"), corpus)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("broken", ["config", "weights"])
def test_a_folder_that_cannot_be_loaded_is_one_sentence(corpus: Corpus, tmp_path: Path, broken: str) -> None:
    folder = networks.write("bert", tmp_path)
    path = folder / ("config.json" if broken == "config" else "model.safetensors")
    path.write_text(
        path.read_text().replace('"hidden_size": 32', '"hidden_size": 33') if broken == "config" else "weights"
    )
    with pytest.raises(InputError, match=f"^model.pretrained={folder} ") as caught:
        build_network(settings(folder), corpus)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["mpnet", "t5", "llama"])
def test_a_run_with_such_a_network_on_both_sides(tiny_corpus: Path, tmp_path: Path, kind: str) -> None:
    config = tiny.config(tiny_corpus, networks.write(kind, tmp_path / "model"))
    config = replace(config, embedding=replace(config.embedding, epochs=1), model=replace(config.model, epochs=1))
    found = pipeline.run(config, tmp_path / "run")
    assert 0 <= found["rerank"]["accuracy"] <= 1
    assert torch.isfinite(torch.tensor(found["sigma2_mis"]))
