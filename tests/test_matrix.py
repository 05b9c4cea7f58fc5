"""Every cell of the paper's Tables 1 and 6, from the command line to the files, on small networks and small data."""

import csv
import gc
import importlib
import json
import logging
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import slices
import tiny
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from typed import Typed as Warm

import run
from lrsl.classifiers.llm import check_four_bit
from lrsl.errors import InputError

ROOT = Path(run.__file__).parent
DATASETS = ("cmcc34", "iflytek119", "banking77", "tsec3")
NETWORKS = {
    "bert": "bert",
    "roberta": "roberta",
    "convbert": "bert",
    "aphan": "bert",
    "hldic": "bert",
    "llama2": "llama",
    "mistral": "mistral",
}
"""The network of each `model`, by its name in `tiny`; DialoGLUE's ConvBERT is a BERT."""
LLMS = ("llama2", "mistral")

UNSUITED = {
    ("convbert", "cmcc34"): "knows one language only (model.language=en), and the texts of cmcc34 are in another",
    ("convbert", "iflytek119"): "knows one language only (model.language=en), and the texts of iflytek119 are in",
    ("aphan", "banking77"): "and the texts of banking77 are single sentences",
    ("aphan", "tsec3"): "and the texts of tsec3 are single sentences",
    ("hldic", "iflytek119"): "needs labels on two levels, and the labels of iflytek119 have no groups",
    ("hldic", "banking77"): "needs labels on two levels, and the labels of banking77 have no groups",
    ("hldic", "tsec3"): "needs labels on two levels, and the labels of tsec3 have no groups",
}
"""The cells with a dash, and what is said of each."""

CELLS = [(model, dataset) for model in NETWORKS for dataset in DATASETS if (model, dataset) not in UNSUITED]
QUICK = ("trainer=cpu", "trainer.progress=false", "logger=csv", "model.epochs=1", "embedding.epochs=1")
SHORT = ("model.max_length=32", "embedding.max_length=32")

Typed = Callable[..., int]
Networks = dict[str, Path]


@pytest.fixture(scope="module", autouse=True)
def swift() -> Iterator[None]:
    """One thread, as networks this small only wait for a second, and no garbage sought in all that is imported."""
    importlib.import_module("lrsl.run.pipeline")  # which a run loads late
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.freeze()
    yield
    gc.unfreeze()
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of local copies whose texts are made up."""
    return slices.write(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def networks(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Networks:
    """A folder for each kind of network, whose tokenizers know the words of the training files."""
    folder = tmp_path_factory.mktemp("networks")
    words = words_of_train(data)
    return {
        "bert": tiny.write_bert(folder / "bert", words, positions=40),
        "roberta": tiny.write_roberta(folder / "roberta", words, positions=40),
        "llama": tiny.write_llama(folder / "llama", words),
        "mistral": tiny.write_mistral(folder / "mistral", words),
    }


def words_of_train(data: Path) -> list[str]:
    return tiny.vocabulary(path.read_text(encoding="utf-8") for path in sorted(data.rglob("train*")))


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Typed]:
    """Return a function that runs `python run.py` in an empty folder, but in this process, and returns the status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LRSL_DATA_DIR", raising=False)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # so that it is as it was afterwards
    root = logging.getLogger()
    before, level = root.handlers[:], root.level

    def typed(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
        try:
            return run.main()
        except SystemExit as end:
            return int(end.code or 0)

    yield typed
    for handler in root.handlers[:]:
        if handler not in before:
            handler.close()
            root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture(scope="module")
def four_bit() -> None:
    """What needs 4-bit weights is skipped where bitsandbytes cannot train on them."""
    try:
        check_four_bit("cuda" if torch.cuda.is_available() else "cpu")
    except InputError as error:
        pytest.skip(str(error))


def the_run(dataset: str, model: str) -> Path:
    """Return the folder of the one run there is."""
    (path,) = Path("outputs").rglob("results.json")
    assert path.parts[1:3] == (dataset, model)
    return path.parent


def json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def check_results(folder: Path, gold: list[str]) -> list[dict[str, Any]]:
    """Check results and predictions against each other and against the labels of the test file; return the latter."""
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    lines = json_lines(folder / "predictions.jsonl")
    assert found["status"] == "finished"
    assert found["k"] == 3
    assert found["n_test"] == len(gold)
    assert found["sigma2_mis"] >= 0
    assert [line["gold"] for line in lines] == gold
    assert len({line["id"] for line in lines}) == len(gold)
    assert found["n_hard"] == sum(line["hard"] for line in lines)
    assert found["hard_fraction"] == pytest.approx(found["n_hard"] / len(gold))
    for line in lines:
        assert line["hard"] == (line["hardness"] < found["sigma2_mis"])
        assert line["hard"] or line["rerank"] == line["origin"]
        assert line["top_k_before"][0][0] == line["origin"]
    for system in ("origin", "rerank", "similarity"):
        correct = [line[system] == line["gold"] for line in lines]
        assert found[system]["accuracy"] == pytest.approx(sum(correct) / len(gold))
        assert all(value is None or 0 <= value <= 1 for value in found[system].values())
    return lines


def check_checkpoint(folder: Path, model: str, pretrained: Path, classes: int) -> None:
    """Check that an encoder's best epoch is there, that the encoder was trained, and that the head is the model's."""
    state = torch.load(folder / "best.ckpt", weights_only=True)["state_dict"]
    before = load_file(pretrained / "model.safetensors")
    query = "encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(state[f"network.encoder.{query}"], before[query])
    width = state[f"network.encoder.{query}"].shape[1]
    shapes = {name.removeprefix("network.head."): tuple(tensor.shape) for name, tensor in state.items()}
    expected = {
        "aphan": {"lstm.weight_ih_l0_reverse": (4 * 8, width), "classifier.1.weight": (classes, width + 2 * 8)},
        "hldic": {"groups.embeddings": (3, width), "labels.embeddings": (classes, width)},
    }
    assert expected.get(model, {"1.weight": (classes, width)}).items() <= shapes.items()


def check_adapter(folder: Path, pretrained: Path, quantize: str, classes: int) -> None:
    """Check that adapters and head of a language model are there, and that every adapter was trained."""
    weights = load_file(folder / "adapter_model.safetensors")
    assert len(weights) == 2 * 7 * 2  # A and B on seven linear layers of two blocks
    assert all(tensor.any() for tensor in weights.values())  # B is zero before training
    about = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    assert (about["base_model_name_or_path"], about["r"], about["lora_alpha"]) == (str(pretrained), 8, 32)
    with safe_open(folder / "head.safetensors", framework="pt") as file:
        about = json.loads(file.metadata()["lrsl"])
        assert [tuple(file.get_tensor(name).shape) for name in sorted(file.keys())] == [(classes,), (classes, 64)]
    assert (about["classes"], about["settings"]["quantize"]) == (classes, quantize)


def check_cell(model: str, dataset: str, networks: Networks, quantize: str = "nf4") -> None:
    """Check all that a run leaves behind."""
    folder = the_run(dataset, model)
    lines = check_results(folder, [label for label, _ in slices.split(dataset)[1]])
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    train = slices.split(dataset)[0]
    single = int(dataset == "cmcc34")  # a call with a label of its own
    labels = {label for label, _ in train}
    assert (found["dataset"], found["model"], found["embedding"], found["seed"]) == (dataset, model, "roberta", 0)
    assert found["n_train"] + found["n_val"] == len(train) + single
    assert found["classes"] == len(labels) + single
    assert all(said in line["text"] for line, (_, said) in zip(lines, slices.split(dataset)[1], strict=True))
    pretrained = networks[NETWORKS[model]]
    if model in LLMS:
        check_adapter(folder / "classifier" / "adapter", pretrained, quantize, found["classes"])
    else:
        check_checkpoint(folder / "classifier", model, pretrained, found["classes"])
    leaderboard = folder / "iflytek_predict.json"
    assert leaderboard.exists() == (dataset == "iflytek119")
    if leaderboard.exists():
        predicted = json_lines(leaderboard)
        assert [line["id"] for line in predicted] == list(range(slices.UNLABELLED))
        assert {line["label"] for line in predicted} <= labels
    tuned, before = (load_file(path / "model.safetensors") for path in (folder / "embedding", networks["roberta"]))
    assert tuned.keys() == before.keys()
    assert not torch.equal(*(weights["embeddings.word_embeddings.weight"] for weights in (tuned, before)))


def of_cell(model: str, dataset: str, data: Path, networks: Networks) -> list[str]:
    """Return what is typed for a cell, the paper's kind of embedding included."""
    arguments = [f"model={model}", f"dataset={dataset}", f"data_dir={data}", *QUICK, *SHORT]
    arguments += [f"model.pretrained={networks[NETWORKS[model]]}", f"embedding.pretrained={networks['roberta']}"]
    arguments += ["embedding=roberta", "embedding.negatives=confused"]
    return arguments + ["model.aphan.lstm_hidden=8"] * (model == "aphan")


@pytest.mark.parametrize(("model", "dataset"), CELLS)
def test_a_cell(
    model: str, dataset: str, data: Path, networks: Networks, typed: Typed, request: pytest.FixtureRequest
) -> None:
    if model in LLMS:
        request.getfixturevalue("four_bit")
    assert typed(*of_cell(model, dataset, data, networks)) == 0
    check_cell(model, dataset, networks)


def test_a_cell_without_four_bits(data: Path, networks: Networks, typed: Typed) -> None:
    assert typed(*of_cell("mistral", "cmcc34", data, networks), "model.quantize=none") == 0
    check_cell("mistral", "cmcc34", networks, quantize="none")


@pytest.mark.parametrize(("model", "dataset"), UNSUITED)
def test_a_cell_with_a_dash(
    model: str, dataset: str, data: Path, typed: Typed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(f"model={model}", f"dataset={dataset}", f"data_dir={data}") == 1
    output = capsys.readouterr()
    (sentence,) = output.err.splitlines()
    assert sentence.startswith(f"model={model} ")
    assert UNSUITED[model, dataset] in sentence
    assert sentence.endswith(("choose another model for it", "or choose another model"))
    assert output.out == ""
    folder = the_run(dataset, model)
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert (
        found.items() >= {"dataset": dataset, "model": model, "seed": 0, "status": "failed", "error": sentence}.items()
    )
    assert "origin" not in found
    assert {path.name for path in folder.iterdir()} == {".hydra", "run.log", "results.json"}


@pytest.mark.timeout(480)
def test_the_command_of_five_seeds_as_typed(
    data: Path, networks: Networks, four_bit: None, tmp_path: Path, warm: Warm
) -> None:
    arguments = ["model=mistral", "dataset=cmcc34", "seed=0,1,2,3,4"]
    arguments += [f"model.pretrained={networks['mistral']}", f"embedding.pretrained={networks['roberta']}"]
    arguments += [f"data_dir={data}", *QUICK, *SHORT, "-m"]
    done = warm(str(ROOT / "run.py"), *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    outputs = tmp_path / "multirun_outputs"
    folders = sorted(path.parent for path in outputs.rglob("results.json"))
    assert [folder.name for folder in folders] == [f"seed{seed}" for seed in range(5)]
    (parent,) = {folder.parent for folder in folders}
    assert parent.parent == outputs / "cmcc34" / "mistral"
    gold = [label for label, _ in slices.split("cmcc34")[1]]
    hardness = [tuple(line["hardness"] for line in check_results(folder, gold)) for folder in folders]
    assert len(set(hardness)) == 5  # a seed changes something

    (summary,) = outputs.rglob("summary.csv")
    with summary.open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    expected = {"dataset": "cmcc34", "model": "mistral", "n": "5", "seeds": "0 1 2 3 4", "failed": "0"}
    assert expected.items() <= row.items()
    runs = [json.loads((folder / "results.json").read_text(encoding="utf-8")) for folder in folders]
    table = summary.with_suffix(".md").read_text(encoding="utf-8")
    for system in ("origin", "rerank", "similarity"):
        accuracies = [found[system]["accuracy"] for found in runs]
        mean, spread = statistics.mean(accuracies), statistics.stdev(accuracies)
        assert float(row[f"{system}_mean"]) == pytest.approx(mean)
        assert float(row[f"{system}_std"]) == pytest.approx(spread)
        for shown in (table, done.stdout):
            assert f"{100 * mean:.2f} ± {100 * spread:.2f}" in shown


@pytest.fixture(scope="module")
def real(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of local copies that holds the first rows of the real files."""
    return slices.cut(data_dir, tmp_path_factory.mktemp("real"))


@pytest.fixture(scope="module")
def bert_of_real(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT whose tokenizer knows the words of their training texts."""
    return tiny.write_bert(tmp_path_factory.mktemp("bert"), words_of_train(real), positions=40)


@pytest.mark.parametrize(
    ("dataset", "test", "text", "label", "learnt_from"),
    [
        ("banking77", "banking77/test.csv", "text", "category", 48),
        ("tsec3", "tsec/test.csv", "text", "sentiment", 36),  # without the empty one
        ("iflytek119", "iflytek119/clue/dev.json", "sentence", "label", 57),  # without three that are in test
    ],
)
def test_real_texts(
    dataset: str, test: str, text: str, label: str, learnt_from: int, real: Path, bert_of_real: Path, typed: Typed
) -> None:
    arguments = [f"data_dir={real}", f"model.pretrained={bert_of_real}", f"embedding.pretrained={bert_of_real}"]
    arguments += ["dataset.train=fewclue"] * (dataset == "iflytek119")
    assert typed("model=bert", f"dataset={dataset}", *arguments, *QUICK, *SHORT) == 0
    folder = the_run(dataset, "bert")
    rows = slices.read(real / test)
    lines = check_results(folder, [row[label] for row in rows])
    assert [line["text"] for line in lines] == [row[text] for row in rows]
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert found["n_train"] + found["n_val"] == learnt_from
    check_checkpoint(folder / "classifier", "bert", bert_of_real, found["classes"])
    assert (folder / "iflytek_predict.json").exists() == (dataset == "iflytek119")
