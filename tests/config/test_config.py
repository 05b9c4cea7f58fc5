"""What the paper's Table 1 marks with a dash ends with the reason, before data or weights are looked at."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from lrsl.config import composition
from lrsl.config.schema import Config, DatasetConfig, ModelConfig
from lrsl.errors import InputError

CONF = Path(__file__).resolve().parents[2] / "conf"


@pytest.fixture(autouse=True)
def hydra_initialised() -> Iterator[None]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def config(*overrides: str) -> Config:
    return composition.to_config(compose("config", [*overrides, "data_dir=/nowhere"]))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["model=convbert", "dataset=cmcc34"],
            "model=convbert knows one language only (model.language=en), and the texts of cmcc34 are in another "
            "(dataset.language=zh); choose another model for it",
        ),
        (["model=convbert", "dataset=iflytek119", "model.pretrained=/nowhere"], "the texts of iflytek119 are in"),
        (
            ["model=aphan", "dataset=banking77"],
            "model=aphan pairs the turns of a dialogue or the sentences of a document, and the texts of banking77 are "
            "single sentences (dataset.single_sentence=true); choose another model for it",
        ),
        (["model=aphan", "dataset=tsec3"], "the texts of tsec3 are single sentences"),
        (["model=aphan", "dataset=custom", "dataset.single_sentence=true"], "the texts of custom are single sentences"),
        (
            ["model=hldic", "dataset=iflytek119"],
            "model=hldic needs labels on two levels, and the labels of iflytek119 have no groups; name the column of "
            "the coarse label with dataset.group=COL, or choose another model",
        ),
        (["model=hldic", "dataset=banking77"], "the labels of banking77 have no groups"),
        (["model=hldic", "dataset=tsec3"], "the labels of tsec3 have no groups"),
        (["model=hldic", "dataset=custom"], "the labels of custom have no groups"),
    ],
)
def test_a_model_that_does_not_suit_the_data_is_refused(overrides: list[str], expected: str) -> None:
    with pytest.raises(InputError) as caught:
        config(*overrides)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=convbert", "model.pretrained=/nowhere", "dataset=banking77"],
        ["model=aphan", "dataset=telecom34"],
        ["model=aphan", "dataset=cmcc34"],
        ["model=aphan", "dataset=iflytek119"],
        ["model=aphan", "dataset=custom"],
        ["model=hldic", "dataset=telecom34"],
        ["model=hldic", "dataset=cmcc34"],
        ["model=hldic", "dataset=custom", "dataset.group=topic"],
    ],
)
def test_every_other_cell_is_allowed(overrides: list[str]) -> None:
    made = config(*overrides)
    assert made.model.architecture == {"convbert": "encoder"}.get(made.model.name, made.model.name)


def test_the_check_does_not_need_a_command_line() -> None:
    model = ModelConfig(name="mine", architecture="hldic")
    with pytest.raises(InputError, match=r"^model=mine needs labels on two levels"):
        Config(dataset=DatasetConfig(name="own"), model=model)
    assert Config(dataset=DatasetConfig(name="own", group="topic"), model=model).dataset.grouped


@pytest.mark.parametrize(
    ("key", "value"),
    [("architecture", "aphn"), ("aphan.pairs", 0), ("aphan.lstm_hidden", 0), ("hldic.group_loss_weight", -1.0)],
)
def test_values_out_of_range_are_refused(key: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"^model\.{key}="):
        config(f"model.{key}={value}")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["model=mistral", "model.pooling=mean"],
            "model.pooling=mean has no effect on model=mistral (model.architecture=llm); it is for "
            "model.architecture=encoder and hldic, so leave it out",
        ),
        (["model=aphan", "model.pooling=cls"], "model.pooling=cls has no effect on model=aphan"),
        (["model.lora.rank=4"], "model.lora.rank=4 has no effect on model=minilm"),
        (["model=hldic", "model.aphan.pairs=3"], "model.aphan.pairs=3 has no effect on model=hldic"),
        (["model=aphan", "model.hldic.group_loss_weight=1"], "model.hldic.group_loss_weight=1.0 has no effect"),
        (["model.gradient_checkpointing=false"], "model.gradient_checkpointing=false has no effect"),
        (["model=llama2", "model.attention=eager"], "model.attention=eager has no effect on model=llama2"),
        (["model=llama2", "model.encoder_dropout=0"], "model.encoder_dropout=0.0 has no effect on model=llama2"),
    ],
)
def test_a_key_without_effect_is_refused(overrides: list[str], expected: str) -> None:
    with pytest.raises(InputError) as caught:
        config(*overrides)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_each_architecture_takes_its_own_keys() -> None:
    assert config("model=mistral", "model.lora.rank=4").model.lora.rank == 4
    assert config("model=aphan", "model.aphan.pairs=3").model.aphan.pairs == 3
    assert config("model=hldic", "model.hldic.group_loss_weight=1").model.hldic.group_loss_weight == 1
    assert config("model=hldic", "model.pooling=mean").model.pooling == "mean"


def test_several_devices_are_taken() -> None:
    trainer = config("trainer.devices=2", "trainer.num_nodes=3", "trainer.strategy=ddp").trainer
    assert (trainer.devices, trainer.num_nodes, trainer.strategy) == (2, 3, "ddp")
    assert config("trainer.devices=2", "trainer.strategy=fsdp", "model=mistral").trainer.strategy == "fsdp"
    assert config("trainer=fsdp", "model=mistral").trainer.devices == 2
    assert config("trainer=ddp").trainer.strategy == "ddp"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["trainer.devices=0"], "trainer.devices=0"),
        (["trainer.num_nodes=-1"], "trainer.num_nodes=-1"),
        (["trainer.strategy=deepspeed"], "trainer.strategy=deepspeed"),
        (["trainer.devices=2", "trainer.accelerator=mps"], "is one device; leave it at 1"),
        (["trainer.strategy=fsdp", "model=mistral"], "divides a model among processes"),
        (["trainer=fsdp", "trainer.precision=16-mixed", "model=mistral"], "set trainer.precision=bf16-mixed"),
    ],
)
def test_processes_that_cannot_be_are_refused_before_anything_is_loaded(overrides: list[str], expected: str) -> None:
    with pytest.raises(InputError) as caught:
        config(*overrides)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_a_precision_that_leaves_no_float32_is_refused_before_anything_is_loaded(precision: str) -> None:
    with pytest.raises(InputError) as caught:
        config(f"trainer.precision={precision}", "model.pretrained=/nowhere")
    assert str(caught.value).startswith(f"trainer.precision={precision} does not work: ")
    assert "set bf16-mixed, or auto" in str(caught.value)
    assert "\n" not in str(caught.value)
    for known in ("auto", "32-true", "bf16-mixed", "16-mixed"):
        assert config(f"trainer.precision={known}").trainer.precision == known
