import hashlib
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from networks import write
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    T5EncoderModel,
)

from lrsl.embedding.text_embedding import load_embedding, save_embedding
from lrsl.errors import InputError
from lrsl.nn import pretrained
from lrsl.nn.pretrained import (
    MINILM,
    MINILM_SHA256,
    adjust,
    load_encoder,
    load_outline,
    load_tokenizer,
    locate,
    longest_input,
)


@pytest.fixture
def unverified():
    """Forget that the packaged weights were verified, before and after."""
    pretrained._packaged_minilm.cache_clear()
    yield
    pretrained._packaged_minilm.cache_clear()


def is_one_sentence(error):
    return "\n" not in str(error) and not str(error).endswith(".") and len(str(error)) < 500


def test_minilm_comes_from_the_package_with_the_checksum_of_the_hub():
    folder = Path(locate(MINILM))
    assert hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest() == MINILM_SHA256
    assert (folder / "modules.json").exists()


@pytest.mark.parametrize("built_in", [True, False])
def test_damaged_weights_are_refused(unverified, monkeypatch, built_in):
    monkeypatch.setattr(pretrained, "MINILM_SHA256", "0" * 64)
    if not built_in:  # as on Python 3.10
        monkeypatch.delattr(hashlib, "file_digest", raising=False)
    with pytest.raises(InputError, match=f"SHA-256 {MINILM_SHA256} instead of 0000.*reinstall") as caught:
        load_encoder(MINILM)
    assert is_one_sentence(caught.value)


@pytest.mark.parametrize("load", [load_encoder, load_tokenizer])
def test_an_unknown_name_is_one_sentence(load):
    with pytest.raises(InputError, match="pretrained=nobody/nothing-of-the-kind is neither a folder") as caught:
        load("nobody/nothing-of-the-kind")
    assert is_one_sentence(caught.value)


@pytest.mark.parametrize("file", ["model.gguf", "sha256-4f1c", "inside/model.gguf", "inside/sha256-4f1c"])
@pytest.mark.parametrize("named", [True, False])
def test_gguf_is_refused_with_what_to_do(tmp_path: Path, file: str, named: bool) -> None:
    given = tmp_path / file if named else tmp_path
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(b"GGUF and more")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError) as caught:
        locate(str(given), "llm")
    assert str(caught.value).startswith(f"llm={given} is GGUF, which is made for other programs; give the model it was")
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert locate(str(tmp_path)) == str(tmp_path)


def test_files_that_are_hidden_deep_or_closed_are_no_gguf(tmp_path: Path) -> None:
    for name in (".cache/model.gguf", "a/b/model.gguf", "a/short"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"GGU")
    (tmp_path / "a" / "gone").symlink_to("nowhere")
    os.mkfifo(tmp_path / "a" / "pipe")
    assert locate(str(tmp_path)) == str(tmp_path)


@pytest.mark.parametrize(
    ("key", "model"), [("llm", "HuggingFaceTB/SmolLM2-135M-Instruct"), ("model.pretrained", MINILM)]
)
def test_the_hub_id_that_an_error_gives_as_an_example_is_one_that_would_do(key: str, model: str) -> None:
    with pytest.raises(InputError, match=f"give an existing folder or a hub id such as {model}$"):
        locate("/no/such/folder", key)


@pytest.mark.parametrize("path", ["/no/such/folder", "./nowhere", "~/no-such-folder-here", "a/b/c"])
def test_a_path_that_is_no_folder_is_never_asked_for_on_the_hub(path):
    with pytest.raises(InputError, match="is no folder here"):
        locate(path)


def test_a_folder_without_a_model_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="neither a folder with a model") as caught:
        load_encoder(str(tmp_path))
    assert is_one_sentence(caught.value)


class Program:
    """What runs a program when it is unpickled."""

    def __init__(self, leaves):
        self.leaves = leaves

    def __reduce__(self):
        return Path.touch, (self.leaves,)


@pytest.mark.parametrize("load", [load_encoder, load_embedding])
def test_pickled_weights_run_nothing_and_the_refusal_is_one_sentence(tmp_path, load):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    model = BertModel(BertConfig(vocab_size=10, **sizes))
    model.config.save_pretrained(tmp_path)
    weights = tmp_path / "pytorch_model.bin"
    torch.save(model.state_dict(), weights)
    if load is load_encoder:  # which needs no tokenizer
        load(str(tmp_path))
    torch.save({**model.state_dict(), "more": Program(tmp_path / "ran")}, weights)
    with pytest.raises(InputError, match=r"pickled weights.*give a model whose weights are safetensors") as caught:
        load(str(tmp_path))
    assert is_one_sentence(caught.value)
    assert not (tmp_path / "ran").exists()


WEIGHTS = "model.safetensors"


def embedded(tiny_bert, folder):
    """A sentence-transformers model, of which the network lies in the folder."""
    save_embedding(load_embedding(str(tiny_bert)), folder)
    return folder


@pytest.mark.parametrize("load", [load_encoder, load_embedding])
@pytest.mark.parametrize("ending", ["safetensors", "bin"])
@pytest.mark.parametrize("form", ["plain", "sentence-transformers"])
def test_weights_of_another_network_are_refused(tiny_bert, tmp_path, load, ending, form):
    folder = tmp_path / "model"
    if form == "plain":
        shutil.copytree(tiny_bert, folder)
    else:
        embedded(tiny_bert, folder)
    weights = {f"net.encoder_q.{name}": values for name, values in load_file(folder / WEIGHTS).items()}
    (folder / WEIGHTS).unlink()
    if ending == "bin":
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        save_file(weights, folder / WEIGHTS, {"format": "pt"})
    with pytest.raises(InputError) as caught:
        load(str(folder), key="embedding.pretrained")
    assert re.fullmatch(
        rf"embedding.pretrained={re.escape(str(folder))} lacks (\d+) of the \1 weights of its network, such as "
        r"'embeddings.word_embeddings.weight', and holds others, such as 'net.encoder_q\.\S+'; give a folder that "
        "save_pretrained wrote",
        str(caught.value),
    )
    assert is_one_sentence(caught.value)


@pytest.mark.parametrize("load", [load_encoder, load_embedding])
@pytest.mark.parametrize("change", ["head", "no pooler", "prefix", "more", "legacy"])
def test_weights_that_belong_to_a_network_are_taken(tiny_bert, tmp_path, load, change):
    folder = tmp_path / "model"
    shutil.copytree(tiny_bert, folder)
    weights = load_file(folder / WEIGHTS)
    if change == "head":
        network = BertForSequenceClassification.from_pretrained(tiny_bert)
        network.save_pretrained(folder)
    elif change == "legacy":
        (folder / WEIGHTS).unlink()
        torch.save(weights, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    else:
        kept = {name: values for name, values in weights.items() if change != "no pooler" or "pooler" not in name}
        named = {f"bert.{name}" if change == "prefix" else name: values for name, values in kept.items()}
        more = {"rows": torch.zeros(999, 99)} if change == "more" else {}
        save_file(named | more, folder / WEIGHTS, {"format": "pt"})
    loaded = load(str(folder))
    network = loaded if load is load_encoder else loaded.transformers_model
    torch.testing.assert_close(network.embeddings.word_embeddings.weight, weights["embeddings.word_embeddings.weight"])


@pytest.mark.parametrize("load", [load_encoder, load_embedding])
@pytest.mark.parametrize("kind", ["t5", "bart", "albert", "gpt2"])
def test_of_other_kinds_of_networks_none_is_refused(tmp_path, load, kind):
    folder = write(kind, tmp_path)
    load(str(folder))
    if kind == "t5":  # as sentence-t5 is saved, without the half that is not used
        weights = T5EncoderModel.from_pretrained(folder).state_dict()
        save_file({name: weights[name] for name in set(weights) - {"encoder.embed_tokens.weight"}}, folder / WEIGHTS)
        load(str(folder))


def test_weights_in_several_files_are_taken(tiny_bert, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_bert, folder)
    (folder / WEIGHTS).unlink()
    AutoModel.from_pretrained(tiny_bert).save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    for load in (load_encoder, load_embedding):
        load(str(folder))


def test_a_folder_is_taken_as_it_is_and_a_hub_id_too(tiny_bert):
    assert locate(str(tiny_bert)) == str(tiny_bert)
    assert locate("google-bert/bert-base-uncased") == "google-bert/bert-base-uncased"


def test_encoders_are_float32_whatever_was_saved_and_have_no_pooling_layer(tmp_path):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=10, **sizes)).to(torch.bfloat16).save_pretrained(tmp_path)
    encoder = load_encoder(str(tmp_path))
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
    assert not [name for name, _ in encoder.named_parameters() if "pooler" in name]


def test_architectures_without_a_pooling_layer_load(tmp_path):
    DistilBertModel(DistilBertConfig(vocab_size=10, dim=8, n_layers=1, n_heads=1, hidden_dim=8)).save_pretrained(
        tmp_path
    )
    encoder = load_encoder(str(tmp_path))
    assert encoder(torch.ones(1, 3, dtype=torch.int64)).last_hidden_state.shape == (1, 3, 8)


@pytest.mark.parametrize("network", ["tiny_bert", "tiny_roberta"])
def test_the_longest_input_is_what_the_positions_allow(request, network):
    folder = str(request.getfixturevalue(network))
    tokenizer, encoder = load_tokenizer(folder), load_encoder(folder)
    longest = longest_input(tokenizer, encoder, 256)
    assert longest == 24
    assert longest_input(tokenizer, encoder, 10) == 10

    ids = torch.full((1, longest + 1), 7)
    assert encoder(ids[:, :-1]).last_hidden_state.shape[1] == longest
    with pytest.raises((IndexError, RuntimeError)):
        encoder(ids)
    tokenizer.model_max_length = 16
    assert longest_input(tokenizer, encoder, 256) == 16


def test_the_key_that_was_typed_is_named():
    for name in ("/no/such/folder", "nobody/nothing-of-the-kind"):
        with pytest.raises(InputError, match=f"^model.pretrained={name} is n"):
            load_tokenizer(name, "model.pretrained")


def test_dropout_and_attention_are_changed_where_asked(tiny_bert):
    encoder = load_encoder(str(tiny_bert)).eval()
    ids = torch.arange(5, 13).reshape(2, 4)
    before = encoder(input_ids=ids).last_hidden_state
    kept = [module.p for module in encoder.modules() if isinstance(module, torch.nn.Dropout)]

    adjust(encoder, None, None, "model")
    dropouts = [module for module in encoder.modules() if isinstance(module, torch.nn.Dropout)]
    assert [module.p for module in dropouts] == kept
    assert any(kept)

    adjust(encoder, 0.0, "eager", "model")
    assert not any(module.p for module in dropouts)
    assert encoder.config._attn_implementation == "eager"
    encoder.train()  # nothing is dropped, so training mode gives what evaluation mode gave
    torch.testing.assert_close(encoder(input_ids=ids).last_hidden_state, before, atol=1e-5, rtol=1e-5)


def test_an_attention_nobody_knows_is_one_sentence(tiny_bert):
    with pytest.raises(InputError, match=r"^embedding\.attention=flesh does not work here: .+"):
        adjust(load_encoder(str(tiny_bert)), None, "flesh", "embedding")


@pytest.mark.skipif(torch.cuda.is_available(), reason="where there is a GPU it works there")
@pytest.mark.parametrize("attention", ["flex_attention", "paged|eager"])
def test_an_attention_that_cannot_train_is_one_sentence(tiny_bert, attention):
    encoder = load_encoder(str(tiny_bert)).eval()
    state = torch.random.get_rng_state()
    with pytest.raises(InputError, match=rf"^model\.attention={re.escape(attention)} does not work here: .+"):
        adjust(encoder, None, attention, "model")
    adjust(encoder, None, "sdpa", "model")
    assert not encoder.training
    assert torch.equal(torch.random.get_rng_state(), state)


def test_an_outline_has_the_configuration_and_no_weights(tiny_bert):
    outline, encoder = load_outline(str(tiny_bert)), load_encoder(str(tiny_bert))
    assert {parameter.device.type for parameter in outline.parameters()} == {"meta"}
    assert outline.config.max_position_embeddings == encoder.config.max_position_embeddings
    assert longest_input(load_tokenizer(str(tiny_bert)), outline, 256) == 24
    with pytest.raises(InputError, match=r"^model\.pretrained=/no/such is no folder here"):
        load_outline("/no/such", "model.pretrained")


def test_of_a_network_that_cannot_be_outlined_there_is_the_configuration(tiny_bert, monkeypatch):
    monkeypatch.setattr(pretrained.AutoModel, "from_config", None)
    outline = load_outline(str(tiny_bert))
    assert list(outline.parameters()) == []
    assert outline.config.max_position_embeddings == 24
