import json
import warnings
from pathlib import Path

import peft
import pytest
import pytorch_lightning as pl
import tiny
import torch
from hydra import compose, initialize_config_dir
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy

from lrsl.classifiers import llm
from lrsl.classifiers.build import build_network
from lrsl.classifiers.llm import LLMClassifier, last_token, load_base, load_exported
from lrsl.config import composition
from lrsl.config.schema import EmbeddingConfig, LoraConfig, ModelConfig, TrainerConfig
from lrsl.data.corpus import Corpus, Split
from lrsl.errors import InputError
from lrsl.nn.batches import loader
from lrsl.run import pipeline
from lrsl.training.classifier import Classifier
from lrsl.training.trainer import build_trainer

ATOL = {"none": 1e-5, "nf4": 0.05}  # between batches of different width; bfloat16 rounds at the third digit
LINEAR = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def split(n, seed=0):
    texts, labels = tiny.samples(n, seed)
    return Split(ids=[str(i) for i in range(n)], texts=texts, labels=labels)


CORPUS = Corpus("tiny", tiny.LABELS, tiny.LABELS, split(64, 1), split(20, 2), split(20, 3))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llms")
    return {"llama": tiny.write_llama(folder / "llama"), "mistral": tiny.write_mistral(folder / "mistral")}


@pytest.fixture(params=["llama", "mistral"])
def pretrained(request, folders):
    return str(folders[request.param])


@pytest.fixture
def llama(folders):
    return str(folders["llama"])


def settings(pretrained, **options):
    options = {"batch_size": 8, "epochs": 2, "lr": 3e-3, "head_lr": 1e-2, "head_hidden": 16, **options}
    return ModelConfig(name="tiny", architecture="llm", pretrained=pretrained, **options)


def network(pretrained, **options):
    torch.manual_seed(0)
    made = build_network(settings(pretrained, **options), CORPUS)
    assert isinstance(made, LLMClassifier)
    return made


def perturb(module):
    """Give the adapters an effect, which they have not before training, as B is zero."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in module.named_parameters():
        if "lora_B" in name:
            parameter.data.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return module


def batch_of(module, samples=CORPUS.test):
    data = module.samples(samples)
    return data.collate([data[row] for row in range(len(data))])


def logits(module, samples=CORPUS.test):
    with torch.no_grad():
        return module.eval()(batch_of(module, samples))


def test_the_last_real_token_is_taken():
    states = torch.tensor([[[1.0], [2.0], [90.0]], [[3.0], [4.0], [5.0]], [[6.0], [90.0], [90.0]]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0]])
    assert last_token(states, mask).tolist() == [[2], [5], [6]]


@pytest.mark.parametrize("quantize", ["none", "nf4"])
def test_batched_logits_equal_single_ones(pretrained, quantize):
    module = perturb(network(pretrained, quantize=quantize)).eval()
    together = logits(module)
    alone = torch.cat([logits(module, CORPUS.test.take([row])) for row in range(len(CORPUS.test))])
    assert together.dtype == torch.float32
    torch.testing.assert_close(together, alone, rtol=0, atol=ATOL[quantize])
    assert together.std(dim=0).min() > 0.05  # the texts do differ


def test_what_padding_holds_does_not_matter(pretrained):
    module = network(pretrained).eval()
    batch = batch_of(module)
    assert batch["attention_mask"].min() == 0
    with torch.no_grad():
        before = module(batch)
        batch["input_ids"][batch["attention_mask"] == 0] = 7
        torch.testing.assert_close(module(batch), before, rtol=0, atol=1e-6)


def test_a_tokenizer_that_cannot_pad_learns_to(llama):
    module = network(llama)
    assert module.tokenizer.pad_token == "<unk>"
    assert module.llm.base_model.model.config.pad_token_id == module.tokenizer.pad_token_id == 0
    module.tokenizer.pad_token = module.tokenizer.unk_token = module.tokenizer.eos_token = None
    with pytest.raises(InputError, match="no padding, unknown or end token"):
        llm.with_padding(module.tokenizer)


@pytest.mark.parametrize("quantize", ["none", "nf4"])
def test_every_linear_layer_of_the_base_has_an_adapter_and_the_head_has_none(pretrained, quantize):
    module = network(pretrained, quantize=quantize)
    config = module.llm.peft_config["default"]
    assert (config.r, config.lora_alpha, config.lora_dropout) == (8, 32, 0.1)
    adapted = {name for name, layer in module.named_modules() if isinstance(layer, peft.tuners.lora.LoraLayer)}
    assert len(adapted) == 2 * len(LINEAR)
    assert {name.rpartition(".")[2] for name in adapted} == LINEAR
    assert [type(layer) for layer in module.head if isinstance(layer, nn.Linear)] == [nn.Linear, nn.Linear]
    assert {parameter.dtype for parameter in module.head.parameters()} == {torch.float32}


def test_nf4_holds_all_linear_layers_in_four_bits_doubly_quantised(pretrained):
    base = load_base(settings(pretrained, quantize="nf4"))
    layers = [layer for layer in base.modules() if isinstance(layer, nn.Linear)]
    assert len(layers) == 2 * len(LINEAR)
    for layer in layers:
        assert layer.weight.dtype == torch.uint8
        assert layer.weight.numel() * 2 == layer.in_features * layer.out_features
        assert layer.weight.quant_state.quant_type == "nf4"
        assert layer.weight.quant_state.nested
        assert layer.compute_dtype == torch.bfloat16
    assert base.get_input_embeddings().weight.dtype == torch.bfloat16
    assert {p.dtype for p in load_base(settings(pretrained)).parameters()} == {torch.float32}


def dtypes(base):
    return {parameter.dtype for parameter in base.parameters()}


def test_unquantised_weights_are_bfloat16_for_a_gpu_and_not_just_because_there_is_one(llama, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert dtypes(load_base(settings(llama))) == dtypes(load_base(settings(llama), "cuda")) == {torch.bfloat16}
    assert dtypes(load_base(settings(llama), "cpu")) == {torch.float32}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert dtypes(load_base(settings(llama))) == {torch.float32}


def test_four_bit_weights_are_made_where_the_trainer_computes(llama, monkeypatch):
    places = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(llm, "check_four_bit", places.append)
    monkeypatch.setattr(
        llm.AutoModel, "from_pretrained", lambda *_, device_map, **__: (places.append(device_map[""]), {})
    )
    for device in ("cpu", "cuda", "auto"):
        with pytest.raises(InputError, match="AssertionError"):  # there is no model
            load_base(settings(llama, quantize="nf4"), device)
    assert list(map(str, places)) == [*["cpu"] * 2, *["cuda:0"] * 4]


def test_weights_of_another_network_are_refused(tmp_path):
    folder = tiny.write_llama(tmp_path)
    load_base(settings(str(folder)))
    weights = {f"net.{name}": values for name, values in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        InputError, match=r"^model.pretrained=\S+ lacks (\d+) of the \1 weights of its network, such as"
    ):
        load_base(settings(str(folder)))


@pytest.mark.parametrize("quantize", ["none", "nf4"])
@pytest.mark.parametrize("checkpointing", [True, False])
def test_gradients_reach_the_adapters_and_the_head_and_nothing_else(pretrained, quantize, checkpointing):
    module = perturb(network(pretrained, quantize=quantize, gradient_checkpointing=checkpointing)).train()
    assert any(getattr(layer, "gradient_checkpointing", False) for layer in module.modules()) == checkpointing
    module.loss(batch_of(module)).backward()
    reached = {name for name, parameter in module.named_parameters() if parameter.grad is not None}
    trained = {name for name, _ in module.named_parameters() if "lora_" in name or name.startswith("head.")}
    assert reached == trained
    for name, parameter in module.named_parameters():
        if name in trained:
            assert parameter.dtype == torch.float32
            assert parameter.grad.abs().max() > 0, name


def test_recomputed_activations_give_the_same_gradients(llama):
    grads = []
    for checkpointing in (True, False):
        module = perturb(
            network(llama, gradient_checkpointing=checkpointing, lora=LoraConfig(dropout=0.0), dropout=0.0)
        ).train()
        module.loss(batch_of(module)).backward()
        grads.append([parameter.grad for parameter in module.parameters() if parameter.requires_grad])
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("longest", [16, 64])
def test_activations_are_recomputed_where_they_would_take_half_of_the_memory(llama, monkeypatch, longest):
    config = settings(llama, max_length=longest)
    needed = llm.activation_bytes(load_base(config, "cpu"), config)
    assert needed == 4 * (24 * 64 + 8 * 96) * 2 * 8 * longest
    for memory, recomputed in ((2 * needed - 2, True), (2 * needed, False)):
        monkeypatch.setattr(llm, "memory", lambda _, memory=memory: memory)
        layers = llm.load_llm(config, 4, "cpu").modules()
        assert any(getattr(layer, "gradient_checkpointing", False) for layer in layers) == recomputed


def test_the_memory_of_this_machine():
    assert 2**28 < llm.memory("cpu") < 2**48


def test_the_number_of_trainable_parameters(llama):
    module = network(llama, head_hidden=16)
    widths = [(64, 64), (64, 32), (64, 32), (64, 64), (64, 96), (64, 96), (96, 64)]
    adapters = 2 * sum(8 * (a + b) for a, b in widths)
    head = 64 * 16 + 16 + 16 * 4 + 4
    assert sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad) == adapters + head


@pytest.mark.parametrize("checkpointing", [True, False])
def test_4_bit_weights_train_on_after_an_evaluation(llama, checkpointing):
    """On CPUs with bfloat16 instructions bitsandbytes would pack them for inference, and give no gradient after."""
    module = network(
        llama, quantize="nf4", gradient_checkpointing=checkpointing, lora=LoraConfig(dropout=0.0), dropout=0.0
    )
    perturb(module).eval()
    batch = batch_of(module)
    before = logits(module)
    module.train()
    loss = module.loss(batch)
    loss.backward()
    torch.testing.assert_close(loss.detach(), cross_entropy(before, batch["label"]), rtol=0, atol=0.05)
    first = [parameter for name, parameter in module.named_parameters() if "layers.0" in name and "lora_A" in name]
    assert len(first) == len(LINEAR)
    assert all(parameter.grad.abs().max() > 0 for parameter in first)


def test_evaluation_computes_no_more_texts_at_a_time_than_training(llama):
    module = perturb(network(llama, batch_size=8)).eval()
    whole = logits(module)
    seen = []
    module.llm.base_model.model.register_forward_pre_hook(
        lambda _, __, kwargs: seen.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    torch.testing.assert_close(logits(module), whole)
    assert seen == [8, 8, 4]


def fit(module, folder):
    pl.seed_everything(0, verbose=False)
    classifier = Classifier(module, module.settings, 4)
    trainer = build_trainer(
        TrainerConfig(accelerator="cpu", precision="32-true", progress=False),
        "classifier",
        folder,
        epochs=2,
        monitor="val/acc",
        patience=5,
    )
    trainer.fit(classifier, loader(module.samples(CORPUS.train), 16, seed=0), loader(module.samples(CORPUS.val)))
    return classifier, trainer


@pytest.mark.parametrize("quantize", ["none", "nf4"])
def test_a_checkpoint_and_an_export_give_the_logits_back(pretrained, quantize, tmp_path):
    module = network(pretrained, quantize=quantize)
    fresh = logits(module)
    classifier, trainer = fit(module, tmp_path)
    best = Path(trainer.checkpoint_callback.best_model_path)

    state = torch.load(best, weights_only=True)["state_dict"]
    trained = {name for name, parameter in classifier.named_parameters() if parameter.requires_grad}
    assert state.keys() == trained
    assert all("lora_" in name or name.startswith("network.head.") for name in state)
    size = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad) * 4
    assert sum(tensor.nbytes for tensor in state.values()) == size

    (outputs,) = trainer.predict(classifier, loader(module.samples(CORPUS.test)), ckpt_path=best, weights_only=True)
    trainer.validate(classifier, loader(module.samples(CORPUS.val)), ckpt_path=best, weights_only=True, verbose=False)
    expected = logits(module)
    assert (expected - fresh).abs().max() > 1e-2  # training did something
    torch.testing.assert_close(outputs["logits"][outputs["index"].argsort()], expected, rtol=0, atol=ATOL[quantize])

    # through Lightning's checkpoint, into a network whose adapters and head began elsewhere
    torch.manual_seed(9)
    other = Classifier(build_network(module.settings, CORPUS), module.settings, 4)
    assert (logits(other.network) - expected).abs().max() > 1e-2
    val = loader(other.network.samples(CORPUS.val))
    trainer.validate(other, val, ckpt_path=best, weights_only=True, verbose=False)
    torch.testing.assert_close(logits(other.network), expected, rtol=0, atol=1e-5)

    # through the exported folder
    module.export(tmp_path)
    adapter = tmp_path / "adapter"
    assert {path.name for path in adapter.iterdir()} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "head.safetensors",
    }
    assert sum(weight.nbytes for f in adapter.glob("*.safetensors") for weight in load_file(f).values()) == size
    torch.manual_seed(10)
    exported = load_exported(adapter)
    assert not exported.training
    torch.testing.assert_close(logits(exported), expected, rtol=0, atol=1e-5)

    # and PEFT reads its part by itself
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        theirs = peft.PeftModel.from_pretrained(load_base(module.settings), str(adapter)).eval()
    batch = batch_of(module, CORPUS.test.take([0]))
    with torch.no_grad():
        mine = module.llm(input_ids=batch["input_ids"]).last_hidden_state
        torch.testing.assert_close(theirs(input_ids=batch["input_ids"]).last_hidden_state, mine, rtol=0, atol=1e-5)


def test_an_export_can_find_its_language_model_elsewhere(llama, tmp_path):
    module = perturb(network(llama))
    module.export(tmp_path)
    moved = Path(llama).rename(Path(llama).with_name("moved"))
    try:
        with pytest.raises(InputError, match="is no folder here"):
            load_exported(tmp_path / "adapter")
        loaded = load_exported(tmp_path / "adapter", pretrained=str(moved))
        torch.testing.assert_close(logits(loaded), logits(module), rtol=0, atol=1e-5)
    finally:
        moved.rename(llama)


def test_an_export_of_an_earlier_version_is_read(llama, tmp_path):
    module = network(llama, lora=LoraConfig(rank=4, alpha=16))
    module.export(tmp_path)
    head = tmp_path / "adapter" / "head.safetensors"
    with safe_open(head, framework="pt") as file:
        about = json.loads(file.metadata()["lrsl"])
    for part in ("lora", "aphan", "hldic"):
        del about["settings"][part]
    about["settings"] |= {"lora_rank": 4, "lora_alpha": 16, "lora_dropout": 0.2, "pooling": "cls", "gone": 1}
    about["settings"] |= {"max_pairs": 25, "lstm_hidden": 300, "group_loss_weight": 0.5, "attention": "eager"}
    save_file(load_file(head), head, metadata={"lrsl": json.dumps(about)})
    loaded = load_exported(tmp_path / "adapter")
    assert loaded.settings.lora == LoraConfig(rank=4, alpha=16, dropout=0.2)
    torch.testing.assert_close(logits(loaded), logits(module), rtol=0, atol=1e-5)


def test_an_export_that_does_not_fit_is_one_sentence(llama, tmp_path):
    module = network(llama)
    module.export(tmp_path)
    adapter = tmp_path / "adapter"
    weights = adapter / "adapter_model.safetensors"
    whole = load_file(weights)
    save_file(dict(list(whole.items())[1:]), weights)
    with pytest.raises(InputError, match="its adapters sit on other layers"):
        load_exported(adapter)
    save_file({name: weight[:, :3].contiguous() for name, weight in whole.items()}, weights)
    with pytest.raises(InputError, match=r"does not fit .*size mismatch"):
        load_exported(adapter)
    weights.write_bytes(b"nothing")
    with pytest.raises(InputError, match="is damaged"):
        load_exported(adapter)
    weights.unlink()
    with pytest.raises(InputError, match=r"adapter_model.safetensors is missing"):
        load_exported(adapter)
    save_file(load_file(adapter / "head.safetensors"), adapter / "head.safetensors")
    with pytest.raises(InputError, match="does not say how it was trained"):
        load_exported(adapter)


def test_a_checkpoint_of_another_network_is_refused(llama):
    module = network(llama)
    classifier = Classifier(module, module.settings, 4)
    checkpoint = {"state_dict": classifier.state_dict()}
    classifier.on_save_checkpoint(checkpoint)
    classifier.on_load_checkpoint(checkpoint)
    name = next(iter(checkpoint["state_dict"]))
    lacking = {key: value for key, value in checkpoint["state_dict"].items() if key != name}
    with pytest.raises(RuntimeError, match=f"lacks {name}"):
        classifier.on_load_checkpoint({"state_dict": lacking})
    with pytest.raises(RuntimeError, match=r"unknown network\.more"):
        classifier.on_load_checkpoint({"state_dict": {**checkpoint["state_dict"], "network.more": torch.zeros(1)}})


def test_where_four_bits_do_not_work_the_way_out_is_named(llama, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no kernel\nfor this")

    monkeypatch.setattr("bitsandbytes.nn.Linear4bit.forward", fail)
    with pytest.raises(InputError) as caught:
        network(llama, quantize="nf4")
    assert str(caught.value) == (
        "model.quantize=nf4 does not work on this machine (bitsandbytes on cpu: RuntimeError: no kernel for this); "
        "set model.quantize=none"
    )


def test_a_gpu_out_of_memory_is_told_what_to_lower(llama):
    def told(group, config):
        with pytest.raises(InputError) as caught, pipeline.enough_memory("classifier", group, config):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return str(caught.value)

    start = "the GPU's memory is too small for the classifier with model.batch_size=8 and model.max_length=256; "
    recomputing = {"gradient_checkpointing": True}
    assert told("model", settings(llama, quantize="nf4", **recomputing)) == f"{start}lower one of them"
    assert told("model", settings(llama, **recomputing)) == f"{start}lower one of them, or set model.quantize=nf4"
    assert told("model", settings(llama, quantize="nf4", gradient_checkpointing=False)) == (
        f"{start}lower one of them, or set model.gradient_checkpointing=true"
    )
    assert "embedding.batch_size=64 and embedding.max_length=256; lower" in told("embedding", EmbeddingConfig())


def test_out_of_memory_in_training_ends_a_run_with_that_sentence(tiny_corpus, tiny_bert, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("lrsl.classifiers.encoder.EncoderClassifier.loss", fail)
    with pytest.raises(InputError, match=r"too small for the classifier with model.batch_size=16"):
        pipeline.run(tiny.config(tiny_corpus, tiny_bert), tmp_path)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"quantize": "nf4"}, "model.quantize=nf4 is for language models with adapters"),
        ({"architecture": "llm", "quantize": "nf8"}, "model.quantize=nf8 is unknown; use one of nf4, none"),
        ({"architecture": "llm", "lora": {"rank": 0}}, "model.lora.rank=0 is too small; it must be at least 1"),
        ({"architecture": "llm", "lora": {"alpha": 0}}, "model.lora.alpha=0 is too small"),
        ({"architecture": "llm", "lora": {"dropout": 1.0}}, "model.lora.dropout=1.0 is out of range"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, expected):
    with pytest.raises(InputError, match=expected):
        ModelConfig(**{key: LoraConfig(**value) if key == "lora" else value for key, value in options.items()})


@pytest.mark.parametrize(
    ("name", "pretrained"),
    [("llama2", "meta-llama/Llama-2-7b-chat-hf"), ("mistral", "mistralai/Mistral-7B-Instruct-v0.2")],
)
def test_the_papers_recipe(name, pretrained):
    with initialize_config_dir(str(Path(__file__).parents[2] / "conf"), version_base="1.3"):
        model = composition.to_config(compose("config", [f"model={name}"])).model
    assert (model.name, model.architecture, model.pretrained) == (name, "llm", pretrained)
    assert (model.quantize, model.lora.rank, model.lora.alpha, model.lora.dropout) == ("nf4", 8, 32, 0.1)
    assert (model.lr, model.head_lr, model.weight_decay, model.gradient_clip, model.dropout) == (
        1e-5,
        1e-5,
        0.001,
        1.0,
        0.1,
    )
    assert (model.batch_size, model.epochs, model.max_length) == (8, 5, 512)
    assert model.warmup * model.epochs == 1  # the first epoch


def test_a_whole_run_leaves_the_best_epochs_adapter_behind(tiny_corpus, tiny_bert, llama, tmp_path):
    config = tiny.config(tiny_corpus, tiny_bert)
    config.model = settings(llama, quantize="nf4", batch_size=32, epochs=1)
    results = pipeline.run(config, tmp_path)
    assert results["status"] == "finished"
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    loaded = load_exported(tmp_path / "classifier" / "adapter")
    again = logits(loaded, Split(ids=[], texts=[line["text"] for line in lines], labels=[0] * len(lines)))
    first = torch.tensor([line["top_k_before"][0][1] for line in lines])
    torch.testing.assert_close(again.max(-1).values, first, rtol=0, atol=ATOL["nf4"])
