"""A folder of weights from a stranger: nothing it names is imported, run or asked about, and the refusal is plain."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer

import lrsl
from lrsl.embedding import text_embedding
from lrsl.embedding.text_embedding import load_embedding, save_embedding
from lrsl.errors import InputError
from lrsl.nn import pretrained
from lrsl.nn.pretrained import fingerprint, load_encoder, load_outline, load_tokenizer
from lrsl.nn.trust import check_runs_nothing

PLANTED = """
import pathlib
pathlib.Path(__file__).with_name("RAN").touch()
pathlib.Path({ran!r}).touch()
from torch import nn
class Planted(nn.Module):
    @classmethod
    def load(cls, *args, **kwargs):
        return cls()
    def forward(self, features):
        return features
PlantedConfig = PlantedModel = PlantedTokenizer = Planted
"""


@pytest.fixture(scope="module")
def embedding(tiny_bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("embedding") / "model"
    save_embedding(load_embedding(str(tiny_bert)), folder)
    return folder


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """A file that planted code makes, wherever it is imported from; a question would be answered with yes."""
    monkeypatch.setattr("builtins.input", lambda *_: "yes")
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    before = [*sys.path]
    yield tmp_path / "ran-somewhere"
    sys.path[:] = before
    sys.modules.pop("planted", None)


def changed(source: Path, folder: Path, ran: Path) -> Path:
    """Return a copy of a model with a planted module in it."""
    shutil.copytree(source, folder)
    (folder / "planted.py").write_text(PLANTED.format(ran=str(ran)))
    return folder


def set_in(file: Path, **settings: object) -> None:
    known = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps({**known, **settings}))


def planted_modules(folder: Path, kind: str, path: str = "") -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": len(modules), "name": str(len(modules)), "path": path, "type": kind})
    (folder / "modules.json").write_text(json.dumps(modules))


AUTO_MAP = {"AutoConfig": "planted.PlantedConfig", "AutoModel": "planted.PlantedModel"}
ENCODERS = {
    "a known network": lambda folder: set_in(folder / "config.json", auto_map=AUTO_MAP),
    "an unknown network": lambda folder: set_in(folder / "config.json", auto_map=AUTO_MAP, model_type="planted"),
    "the tokenizer": lambda folder: set_in(
        folder / "tokenizer_config.json",
        auto_map={"AutoTokenizer": ["planted.PlantedTokenizer", None]},
        tokenizer_class="PlantedTokenizer",
    ),
    "the processor": lambda folder: set_in(
        folder / "processor_config.json", auto_map={"AutoProcessor": "planted.Planted"}
    ),
    "another repository": lambda folder: set_in(
        folder / "config.json", auto_map={"AutoModel": "stranger/code--planted.PlantedModel"}
    ),
    "a kernel": lambda folder: set_in(folder / "config.json", attn_implementation="stranger/kernel"),
    "generation": lambda folder: set_in(folder / "generation_config.json", custom_generate="stranger/generate"),
    "adapters": lambda folder: set_in(
        folder / "adapter_config.json",
        peft_type="LORA",
        base_model_name_or_path=str(folder),
        auto_mapping={"base_model_class": "Planted", "parent_library": "planted"},
    ),
    "adapters for Megatron": lambda folder: set_in(
        folder / "adapter_config.json", peft_type="LORA", megatron_config={"a": 1}, megatron_core="planted"
    ),
}
EMBEDDINGS = {
    "a module in the folder": lambda folder: planted_modules(folder, "planted.Planted"),
    "a module anywhere": lambda folder: planted_modules(folder, "antigravity.Planted"),
    "no module but a function": lambda folder: planted_modules(
        folder, "sentence_transformers.util.misc.import_from_string"
    ),
    "a module outside": lambda folder: planted_modules(
        folder, "sentence_transformers.sentence_transformer.modules.Normalize", "../other"
    ),
    "a module that is hidden": lambda folder: planted_modules(
        folder, "sentence_transformers.sentence_transformer.modules.Normalize", "./.hidden"
    ),
    "a module deep inside": lambda folder: planted_modules(
        folder, "sentence_transformers.sentence_transformer.modules.Normalize", "a/b/c/d/e"
    ),
    "settings of the encoder": lambda folder: set_in(
        folder / "sentence_bert_config.json", model_args={"trust_remote_code": True}
    ),
}


@pytest.mark.parametrize("plant", ENCODERS.values(), ids=ENCODERS)
def test_an_encoder_that_names_code_is_refused_in_a_sentence_at_once(tiny_bert, tmp_path, ran, plant):
    folder = changed(tiny_bert, tmp_path / "model", ran)
    plant(folder)
    for load in (load_encoder, load_tokenizer, load_outline, fingerprint, load_embedding):
        with pytest.raises(InputError, match=r"would run code: [\w/]+\.json names .*give a model that") as caught:
            load(str(folder))
        assert len(str(caught.value)) < 400
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"would run code"):
        lrsl.Reranker(str(folder), tiny.LABELS)
    assert not ran.exists()
    assert not (folder / "RAN").exists()


@pytest.mark.parametrize("plant", EMBEDDINGS.values(), ids=EMBEDDINGS)
def test_an_embedding_that_names_code_is_refused(embedding, tmp_path, ran, plant):
    folder = changed(embedding, tmp_path / "model", ran)
    load_embedding(str(folder))  # a file of Python that nothing names is none of our business
    plant(folder)
    with pytest.raises(InputError, match=r"would run code: [\w/]+\.json names "):
        load_embedding(str(folder))
    assert "antigravity" not in sys.modules
    assert not ran.exists()


@pytest.mark.parametrize("plant", [*ENCODERS, *EMBEDDINGS])
def test_the_libraries_run_nothing_either(embedding, tiny_bert, tmp_path, ran, monkeypatch, plant):
    """With our own check out of the way: so must the oldest versions that pyproject.toml allows."""
    monkeypatch.setattr(pretrained, "check_runs_nothing", lambda *_: None)
    folder = changed(embedding if plant in EMBEDDINGS else tiny_bert, tmp_path / "model", ran)
    {**ENCODERS, **EMBEDDINGS}[plant](folder)
    for load in (load_tokenizer, load_outline, load_encoder, load_embedding):
        try:
            load(str(folder))
        except InputError:
            continue
    assert not ran.exists()
    assert not (folder / "RAN").exists()


def test_a_dense_layer_names_no_function_of_strangers(embedding, tmp_path, ran):
    folder = changed(embedding, tmp_path / "model", ran)
    planted_modules(folder, "sentence_transformers.sentence_transformer.modules.Dense", "2_Dense")
    (folder / "2_Dense").mkdir(exist_ok=True)
    dense = {"in_features": 32, "out_features": 32, "bias": True}
    set_in(folder / "2_Dense" / "config.json", **dense, activation_function="torch.nn.modules.activation.Tanh")
    save_file(
        {"linear.weight": torch.eye(32), "linear.bias": torch.zeros(32)}, folder / "2_Dense" / "model.safetensors"
    )
    assert load_embedding(str(folder)).encode(["card"]).shape == (1, 32)
    set_in(folder / "2_Dense" / "config.json", **dense, activation_function="planted.Planted")
    with pytest.raises(InputError, match=r"2_Dense/config\.json names activation_function planted"):
        load_embedding(str(folder))
    assert not ran.exists()


class Program:
    """What touches a file when it is unpickled."""

    def __init__(self, leaves: Path) -> None:
        self.leaves = leaves

    def __reduce__(self):
        return Path.touch, (self.leaves,)


def test_pickled_weights_of_a_module_inside_run_nothing(embedding, tmp_path, ran):
    folder = changed(embedding, tmp_path / "model", ran)
    planted_modules(folder, "sentence_transformers.sentence_transformer.modules.Dense", "2_Dense")
    (folder / "2_Dense").mkdir(exist_ok=True)
    set_in(folder / "2_Dense" / "config.json", in_features=32, out_features=32, bias=True)
    torch.save({"linear.weight": torch.eye(32), "more": Program(ran)}, folder / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pickled weights.*give a model whose weights are safetensors"):
        load_embedding(str(folder))
    assert not ran.exists()


def test_adapters_whose_base_names_code_are_refused_too(tiny_bert, tmp_path, ran):
    base = changed(tiny_bert, tmp_path / "base", ran)
    set_in(base / "config.json", auto_map=AUTO_MAP)
    adapters = tmp_path / "adapters"
    adapters.mkdir()
    set_in(adapters / "adapter_config.json", peft_type="LORA", base_model_name_or_path=str(base))
    with pytest.raises(InputError, match=r"whose adapters belong to .* would run code"):
        load_encoder(str(adapters))
    set_in(base / "adapter_config.json", peft_type="LORA", base_model_name_or_path=str(adapters))  # in a circle
    with pytest.raises(InputError, match=r"would run code"):
        load_encoder(str(adapters))


def test_what_the_libraries_know_themselves_is_loaded(tiny_bert, embedding):
    check_runs_nothing(tiny_bert, "x")
    check_runs_nothing(embedding, "x")
    for module in text_embedding.load_embedding(pretrained.MINILM):
        assert type(module).__module__.startswith("sentence_transformers.")
    assert isinstance(load_embedding(str(embedding)), SentenceTransformer)


@pytest.mark.parametrize(
    "name", ["x" * 5000, "/" + "x" * 5000, "a\0b", "../" + "y" * 5000, "~nobody-of-that-name/model", "\ud800", "a\nb"]
)
def test_what_is_no_path_is_one_short_sentence(name):
    with pytest.raises(InputError, match=r"is no folder here|neither a folder") as caught:
        load_encoder(name)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)
    str(caught.value).encode()


def test_a_kernel_of_others_is_not_fetched(tiny_bert):
    with pytest.raises(InputError, match=r"model\.attention=stranger/kernel does not work here: no code of others"):
        pretrained.adjust(load_encoder(str(tiny_bert)), None, "stranger/kernel", "model")
