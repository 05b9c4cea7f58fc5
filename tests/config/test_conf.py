"""Every file under conf/ is loaded; mistakes on the command line become one sentence; a run's folder is its own."""

import copy
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from lrsl.config import composition, identity, keys, mistakes
from lrsl.config.schema import Config
from lrsl.errors import InputError

CONF = Path(__file__).resolve().parents[2] / "conf"
CHOICES = sorted(f"{path.parent.relative_to(CONF)}={path.stem}" for path in CONF.rglob("*.yaml") if path.parent != CONF)
NEEDED = {
    "model=convbert": ["model.pretrained=folder"],
    **{choice: ["experiment=table3"] for choice in CHOICES if choice.startswith("embedding/ablation=")},
}
"""What a choice cannot do without."""
NESTED = ("model.lora", "model.aphan", "model.hldic", "reranker.fitted")
"""Parts of parts; any other mapping below a group is one value."""
EXTRAS = {
    "launcher=joblib": "hydra_plugins.hydra_joblib_launcher",
    "launcher=ray": "ray",
    "launcher=submitit_local": "hydra_plugins.hydra_submitit_launcher",
    "launcher=submitit_slurm": "hydra_plugins.hydra_submitit_launcher",
}
"""Choices for which a package must be installed."""


def installed(choice: str) -> bool:
    return choice not in EXTRAS or importlib.util.find_spec(EXTRAS[choice]) is not None


@pytest.fixture(autouse=True)
def hydra_initialised(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("LRSL_DATA_DIR", raising=False)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def composed(*overrides: str) -> DictConfig:
    return compose("config", list(overrides))


def config(*overrides: str) -> Config:
    return composition.to_config(composed(*overrides))


def refusal(*overrides: str) -> str:
    with pytest.raises((InputError, *mistakes.COMPOSITION_ERRORS)) as caught:
        config(*overrides)
    error = caught.value
    sentence = str(error) if isinstance(error, InputError) else mistakes.explain(error)
    assert "\n" not in sentence
    return sentence


def test_there_are_choices_in_every_group() -> None:
    assert {choice.partition("=")[0].partition("/")[0] for choice in CHOICES} == set(keys.GROUPS)


@pytest.mark.parametrize("choice", CHOICES)
def test_every_file_is_loaded_and_fits_the_schema(choice: str) -> None:
    if not installed(choice):
        assert "pip install 'lrsl[" in refusal(choice)
        return
    made = config(choice, *NEEDED.get(choice, []))
    group, _, name = choice.partition("=")
    assert isinstance(made, Config)
    if group in ("dataset", "model", "embedding", "logger"):
        assert getattr(made, group).name == name


@pytest.mark.parametrize("choice", CHOICES)
def test_every_file_says_how_it_is_used(choice: str) -> None:
    group, _, name = choice.partition("=")
    text = (CONF / group / f"{name}.yaml").read_text(encoding="utf-8")
    command = f"experiment={name}" if group == "experiment" else choice
    assert f"#   python run.py {command}" in text or f"{command}" in text.split("python run.py", 1)[1].splitlines()[0]


def test_the_defaults_are_those_of_the_schema() -> None:
    made = config("dataset=banking77")  # the embedded data set has epochs of its own
    assert (made.model, made.embedding, made.trainer) == (Config().model, Config().embedding, Config().trainer)
    assert config().dataset.name == "telecom34"
    assert made.seed == 0
    assert made.data_dir is None


def test_data_dir_comes_from_the_environment_unless_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRSL_DATA_DIR", "/somewhere")
    assert config().data_dir == "/somewhere"
    assert config("data_dir=/elsewhere").data_dir == "/elsewhere"


def test_one_k_for_variance_and_confused_labels_unless_set_apart() -> None:
    linked, apart = config("reranker.k=5"), config("reranker.k=5", "embedding.k=2")
    assert (linked.reranker.k, linked.embedding.k) == (5, 5)
    assert (apart.reranker.k, apart.embedding.k) == (5, 2)


def test_the_papers_recipe() -> None:
    made = config("experiment=paper", "model=bert")
    assert made.model.pretrained == "google-bert/bert-base-uncased"
    assert (made.model.batch_size, made.model.lr, made.model.head_lr, made.model.weight_decay) == (24, 2e-5, 2e-5, 0)
    assert (made.model.dropout, made.model.patience, made.model.pooling) == (0.1, 4, None)
    assert (made.embedding.name, made.embedding.negatives, made.embedding.scale) == ("roberta", "confused", 1)
    assert (made.reranker.k, made.embedding.k, made.reranker.power) == (3, 3, 1)


def test_a_power_is_a_number_however_it_is_typed_or_is_to_be_found() -> None:
    typed = [config(f"reranker.power={power}").reranker for power in ("2", "2.0", "2e0")]
    assert [type(one.power) for one in typed] == [float] * 3
    folders = {identity.folder(composed(f"reranker.power={power}")) for power in ("2", "2.0", "2e0")}
    assert len(folders) == 1
    assert folders != {identity.folder(composed())} == {identity.folder(composed("reranker.power=1"))}
    found = config("reranker.power=auto").reranker
    assert (found.power, found.fusion["power"]) == ("auto", "auto")


def test_the_papers_recipe_leaves_a_language_models_own_alone() -> None:
    made = config("experiment=paper_llm", "model=mistral")
    assert made.model == config("model=mistral").model
    assert (made.model.batch_size, made.model.lr, made.model.epochs) == (8, 1e-5, 5)
    assert made.embedding == config("experiment=paper").embedding


def sweeps(*overrides: str) -> dict[str, list[str]]:
    """What an experiment runs with -m, by key."""
    params = compose("config", list(overrides), return_hydra_config=True).hydra.sweeper.params or {}
    return {key: value.split(",") for key, value in params.items()}


@pytest.mark.parametrize("choice", [choice for choice in CHOICES if choice.startswith("experiment=")])
def test_what_an_experiment_sweeps_can_be_composed(choice: str) -> None:
    for key, values in sweeps(choice).items():
        for value in values:
            assert composed(choice, f"{key}={value}")


def test_the_main_results_are_those_of_the_papers_models() -> None:
    models = ["bert", "roberta", "convbert", "aphan", "hldic", "llama2", "mistral"]
    for name in ("table1", "topk", "logits"):
        assert sweeps(f"experiment={name}") == {"model": models}


@pytest.mark.parametrize(("recipe", "negatives"), [("table3", "all"), ("[paper,table3]", "confused")])
def test_the_ablations_of_semantic_mapping(recipe: str, negatives: str) -> None:
    recipe = f"experiment={recipe}"
    ((key, variants),) = sweeps(recipe).items()
    made = {variant: config(recipe, f"{key}={variant}") for variant in variants}
    assert list(made) == ["full", "without_triplets", "without_finetuning"]
    found = [(one.embedding.finetune, one.embedding.negatives) for one in made.values()]
    assert found == [(True, negatives), (True, "batch"), (False, negatives)]
    assert all(one.model == made["full"].model for one in made.values())
    assert identity.folder(composed(recipe)) == identity.folder(composed(recipe, f"{key}=full"))


def test_a_study_in_full_is_the_run_that_anyone_would_type() -> None:
    for study in ("table1", "table3", "topk", "logits", "datasets", "labels", "distances"):
        assert identity.folder(composed(f"experiment={study}", "seed=3")) == identity.folder(composed("seed=3"))
    assert identity.folder(composed("experiment=table4")) == identity.folder(composed("model=roberta"))
    assert identity.folder(composed("experiment=marginal")) == identity.folder(composed("model=mistral"))


def test_what_is_typed_wins_over_an_experiment() -> None:
    assert config("experiment=paper", "model.lr=1e-3", "embedding=minilm").model.lr == 1e-3
    assert config("experiment=paper", "embedding=minilm").embedding.name == "minilm"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["model.epocs=3"], "model.epocs is no key of this configuration; did you mean model.epochs?"),
        (["+model.epocs=3"], "model.epocs is no key of this configuration; did you mean model.epochs?"),
        (["sed=1"], "sed is no key of this configuration; did you mean seed?"),
        (["+sed=1"], "sed is no key of this configuration; did you mean seed?"),
        (["datset=banking77"], "datset is no key of this configuration; did you mean dataset?"),
        (["learning_rate=1"], "learning_rate is no key of this configuration; python run.py --cfg job shows them all"),
        (["epochs=3"], "did you mean model.epochs or embedding.epochs?"),
        (["power=2"], "did you mean reranker.power?"),
        (
            ["reranker.zzz=2"],
            "reranker.zzz is no key of this configuration; reranker has k, power, detector, threshold, view",
        ),
        (["model={epocs: 1}"], "did you mean model.epochs?"),
        (["dataset=banking"], "dataset=banking is unknown; use one of banking77,"),
        (["dataset=banking"], "did you mean 'banking77'?"),
        (["model=minlm"], "did you mean 'minilm'?"),
        (["reranker/view=none"], "reranker/view=none is unknown; use one of class_mean, "),
        (["seed=abc"], "seed=abc has a value of the wrong type; seed takes a whole number"),
        (
            ["reranker.view=lexical"],
            "wrong type; reranker/view=NAME, with a slash, takes the name of a file in",
        ),
        (["model.lr=fast"], "model.lr=fast has a value of the wrong type; model.lr takes a number"),
        (["embedding.finetune=maybe"], "embedding.finetune takes true or false"),
        (["dataset.train=[a]"], "dataset.train takes text or null"),
        (["logger.tags=a"], "logger.tags"),
        (["seed=null"], "seed takes a whole number"),
        (["seed=0,1"], "seed=0,1 asks for several runs; add -m to run them all"),
        (["seed=range(3)"], "seed=range(3) asks for several runs; add -m to run them all"),
        (["model@foo=bert"], "model@foo is no key of this configuration; did you mean model?"),
        (["seed"], "seed cannot be read; write key=value"),
        (["data_dir=/a(b"], "data_dir=/a(b cannot be read; write key=value, and quote"),
        (["~model.lr"], "model.lr cannot be taken out"),
        (["seed=-1"], "seed=-1 is out of range; it must be at least 0 and below 2**32"),
        (["model.pooling=cl"], "model.pooling=cl is unknown; use one of cls, mean; did you mean 'cls'?"),
        (["trainer.precision=16"], "trainer.precision=16 is unknown; use one of auto, 32-true"),
        (["reranker.k=1"], "reranker.k=1 is too small"),
        (["reranker.k=0"], "reranker.k=0 is too small"),
        (["embedding.k=0"], "embedding.k=0 is too small"),
        (["reranker.power=0"], "reranker.power=0 is no power; it must be a number above 0, or auto"),
        (["reranker.power=automatic"], "reranker.power=automatic is no power; it must be a number above 0, or auto"),
        (["reranker.power=true"], "reranker.power=True is no power; it must be a number above 0, or auto"),
        (["reranker.power=[1]"], "reranker.power=[1] is no power; it must be a number above 0, or auto"),
        (["embedding.k=${nothing.there}"], "nothing.there"),
        (["model.lora_rank=4"], "model.lora_rank is called model.lora.rank now; set that instead"),
        (["+model.max_pairs=4"], "model.max_pairs is called model.aphan.pairs now"),
        (["model.lora.rnk=4"], "did you mean model.lora.rank?"),
        (["model.lr=???"], "model.lr=??? stands for no value"),
        (["embedding.pretrained=''"], "embedding.pretrained is empty"),
        (["trainer.accelerator=gpuu"], "did you mean 'gpu'?"),
    ],
)
def test_a_mistake_is_one_sentence(overrides: list[str], expected: str) -> None:
    assert expected in refusal(*overrides)


def test_weights_that_cannot_be_fetched_are_asked_for() -> None:
    assert refusal("model=convbert") == (
        "model.pretrained is empty; give a hub id or a local folder (conf/model/convbert.yaml may say where to get it)"
    )


def test_a_mistake_in_a_file_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nmodel:\n  epocs: 3\n")
    (tmp_path / "experiment" / "typed.yaml").write_text("# @package _global_\nmodel:\n  epochs: three\n")
    (tmp_path / "experiment" / "broken.yaml").write_text("model: [\n")
    search = f"hydra.searchpath=[{tmp_path}]"
    assert "model.epocs is no key of this configuration (in conf/experiment/mine.yaml)" in refusal(
        "experiment=mine", search
    )
    assert "(in conf/experiment/typed.yaml)" in refusal("experiment=typed", search)
    assert "broken.yaml" in refusal("experiment=broken", search)


def test_the_known_keys_are_the_keys_of_the_configuration() -> None:
    def leaves(node: Any, prefix: str = "") -> Iterator[str]:
        for key, value in node.items():
            if isinstance(value, dict) and (prefix == "" or f"{prefix}{key}" in NESTED):
                yield from leaves(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}"

    assert sorted(keys.known_keys()) == sorted(leaves(identity.plain(composed())))


def changed(value: Any) -> Any:
    kinds: dict[type, Callable[[Any], Any]] = {
        bool: lambda old: not old,
        int: lambda old: old + 1,
        float: lambda old: old * 2 + 0.125,
        str: lambda old: old + "x",
        type(None): lambda _: "x",
        list: lambda old: [*old, "x"],
        dict: lambda old: {**old, "x": {"url": "x", "sha256": "x"}},
    }
    return kinds[type(value)](value)


def test_draws_of_the_seed_are_seeds_of_one_configuration() -> None:
    draws = [composed("experiment=when_it_pays", "dataset.per_class=5", f"seed={seed}") for seed in (3, 4)]
    assert [composition.to_config(draw).dataset.split_seed for draw in draws] == [3, 4]
    assert [identity.folder(draw).rpartition("/")[0] for draw in draws] == [
        identity.folder(draws[0])[: -len("/seed3")]
    ] * 2
    assert identity.folder(draws[0]) != identity.folder(
        composed("experiment=when_it_pays", "dataset.per_class=5", "seed=3", "dataset.split_seed=3")
    )


def test_every_key_that_can_change_a_result_changes_the_folder() -> None:
    """And no two of the changes share a folder."""
    base = composed()
    plain = identity.plain(base)
    folders = {"": identity.folder(base)}
    for key in keys.known_keys():
        other = copy.deepcopy(base)
        OmegaConf.set_struct(other, False)
        value = OmegaConf.select(other, key)
        new = changed(OmegaConf.to_container(value) if OmegaConf.is_config(value) else value)
        if key == "model.gradient_checkpointing":  # null or a truth value
            new = True
        if key == "dataset.per_class":  # null or a number
            new = 5
        OmegaConf.update(other, key, new, force_add=True)
        assert identity.plain(other) != plain
        folders[key] = identity.folder(other)
    without_effect = {"rerun", "cache", "cache_dir", "trainer.progress", "trainer.checkpoint_minutes"}
    without_effect |= {key for key in folders if key.startswith("logger.")}
    assert {key for key, folder in folders.items() if key and folder == folders[""]} == without_effect
    rest = [folder for key, folder in folders.items() if key not in without_effect]
    assert len(set(rest)) == len(rest)


@pytest.mark.parametrize(
    "overrides",
    [
        ["dataset=telecom34", "model=minilm", "reranker.k=3", "embedding.k=3"],
        ["model.lr=0.0003"],
        ["model.lr=3e-4", "embedding.scale=20"],
        ["logger=csv", "rerun=true", "trainer.progress=false", "trainer=default"],
        ["logger.project=other", "logger.tags=[a,b]"],
        *([choice] for choice in EXTRAS if installed(choice)),
    ],
)
def test_the_same_configuration_has_the_same_folder(overrides: list[str]) -> None:
    assert identity.folder(composed(*overrides)) == identity.folder(composed())


def test_a_folder_names_dataset_model_and_seed_on_any_file_system() -> None:
    dataset, model, digest, seed = identity.folder(composed("seed=7", "dataset.name='../a b/c:d'")).split("/")
    assert (dataset, model, seed) == ("a_b_c_d", "minilm", "seed7")
    assert len(digest) == 8
    assert identity.file_name("..") == "_"


def test_the_folder_is_the_resolvers() -> None:
    full = compose("config", ["seed=3"], return_hydra_config=True)
    assert full.hydra.run.dir == f"outputs/{identity.folder(composed('seed=3'))}"
    assert full.hydra.sweep.subdir == identity.folder(composed("seed=3"))


@pytest.mark.parametrize(
    ("overrides", "name", "pretrained"),
    [
        ((), "minilm", "sentence-transformers/all-MiniLM-L6-v2"),
        (("dataset=iflytek119",), "bge_zh", "BAAI/bge-small-zh-v1.5"),
        (("dataset=cmcc34", "embedding.epochs=1"), "bge_zh", "BAAI/bge-small-zh-v1.5"),
        (("dataset=custom", "dataset.language=zh"), "bge_zh", "BAAI/bge-small-zh-v1.5"),
        (("dataset=iflytek119", "embedding=minilm"), "minilm", "sentence-transformers/all-MiniLM-L6-v2"),
        (("dataset=iflytek119", "experiment=paper"), "roberta", "FacebookAI/roberta-base"),
        (("dataset=iflytek119", "embedding.pretrained=folder", "embedding.name=mine"), "mine", "folder"),
    ],
)
def test_the_embedding_knows_the_language_unless_another_is_chosen(overrides, name, pretrained):
    found = config(*overrides).embedding
    assert (found.name, found.pretrained) == (name, pretrained)


def test_the_default_embedding_is_the_schemas():
    assert config("embedding=minilm").embedding.pretrained == Config().embedding.pretrained
    assert config("reranker.fusion.letter=true").reranker.fusion == {
        "_target_": "lrsl.Paper",
        "power": 1.0,
        "letter": True,
    }
