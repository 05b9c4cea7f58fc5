"""Other tools on the same rows: each on a tiny network, the table, what goes on where it stopped, and bad input."""

import json
import re
import statistics
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typed import Typed

from experiments.peers import PEERS, __main__, one, page
from experiments.peers.asked import asked
from experiments.peers.sentence_transformers_lr import loaded
from experiments.peers.task import AbsentError, Answers, Task
from lrsl.config import composition
from lrsl.config.schema import ModelConfig, TrainerConfig
from lrsl.data.corpus import Split
from lrsl.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
SYSTEMS = {name: {name} for name in PEERS} | {
    **{name: {name, f"{name}_refitted"} for name in ("linear_svm", "sentence_transformers_lr")},
    "reranked_lr": {"reranked_lr", "reranked_lr_out_of_fold"},
    "lrsl": {"origin", "rerank", "fitted"},
}


@pytest.fixture
def words(tiny_bert: Path, tmp_path: Path) -> list[str]:
    """What is typed, without seed and peers."""
    rows = ["dataset=telecom34", "dataset.per_class=5", "dataset.split_seed=null"]
    return [*rows, f"encoder={tiny_bert}", f"out={tmp_path / 'out'}"]


@pytest.fixture
def tiny_words(tiny_corpus: Path, tiny_bert: Path, tmp_path: Path) -> list[str]:
    """What is typed for the tiny corpus, of which a text goes on after a separator of lines, and the tiny network."""
    test = tmp_path / "test.csv"
    head, first, *rows = (tiny_corpus / "test.csv").read_text(encoding="utf-8").split("\n")
    test.write_text("\n".join([head, first.replace(" ", "\u2028", 1), *rows]), encoding="utf-8")
    return [
        *("dataset=custom", "dataset.name=tiny", f"dataset.train={tiny_corpus / 'train.csv'}"),
        *(f"dataset.test={test}", f"encoder={tiny_bert}", f"out={tmp_path / 'out'}"),
        *("model.epochs=6", "model.batch_size=16", "model.lr=3e-3", "model.head_lr=1e-2"),
        *("embedding.epochs=2", "embedding.lr=3e-3", "trainer=cpu"),
    ]


def told(peer: str = "linear_svm", seed: int = 0, accuracy: float = 0.5, **changed: Any) -> dict[str, Any]:
    """What a file holds of one peer and one seed."""
    figures = {"accuracy": accuracy, "train_seconds": 10.0 + seed, "seconds_per_1000": 0.25}
    return {
        "peer": peer,
        "corpus": "dataset=tiny",
        "seed": seed,
        "rows": {"train": 1192, "val": 48, "test": 60},
        "data": {"train": f"rows of {seed}"},
        "encoder": "FOLDER/bert",
        "weights": "abc",
        "systems": {peer: figures},
        "memory_mb": 1234,
        "commit": "abc1234567",
        "machine": "2 CPU cores",
        "load": 1.0 + seed,
        "versions": {"torch": "2.13"},
    } | changed


def task(n: int = 8, seed: int = 0) -> Task:
    import tiny

    texts, labels = tiny.samples(n, seed)
    split = Split([str(row) for row in range(n)], texts, labels)
    recipe = ModelConfig(name="tiny")
    return Task(split, split, texts, tiny.LABELS, tiny.LABELS, "nowhere", recipe, 0, TrainerConfig(), ())


def raise_(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("peer", ["sentence_transformers_lr", "transformers_trainer", "reranked_lr", "lrsl"])
def test_a_peer_learns(peer: str, tiny_words: list[str], warm: Typed, tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    done = warm("-m", "experiments.peers.one", peer, str(file), *tiny_words, "seed=3", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text(encoding="utf-8"))
    assert set(found["systems"]) == SYSTEMS[peer]
    for figures in found["systems"].values():
        assert figures["accuracy"] > 1.3 / 4
        assert figures["train_seconds"] > 0
        assert figures["seconds_per_1000"] > 0
    assert found["rows"] == {"train": 192, "val": 48, "test": 60}
    assert found["seed"] == 3
    assert 100 < found["memory_mb"] < 10_000
    assert "FOLDER/" in found["encoder"]
    assert str(tmp_path.parent) not in file.read_text(encoding="utf-8")


def test_the_command_writes_a_table_and_goes_on(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    out = tmp_path / "out"
    assert __main__.main([*words, "peers=linear_svm", "seed=0"]) == 0
    (file,) = out.rglob("seed0.json")
    assert file.relative_to(out).parts[1:] == ("linear_svm", "seed0.json")
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["systems"]["linear_svm"]["accuracy"] > 0.2  # of 34 classes
    best = max(figures["accuracy"] for figures in found["systems"].values())  # refitted on twice as many rows
    assert best == found["systems"]["linear_svm_refitted"]["accuracy"] > found["systems"]["linear_svm"]["accuracy"]
    assert found["commit"]
    table = (out / page.PAGE).read_text(encoding="utf-8")
    assert f"**{100 * best:.2f}**" in table
    assert table in capsys.readouterr().out

    started: list[tuple[str, str]] = []

    def measured(typed: list[str]) -> int:
        started.append((typed[1], next(word for word in typed if word.startswith("seed="))))
        return one.main(typed[1:])

    monkeypatch.setattr(__main__, "status", measured)
    assert __main__.main([*words, "peers=linear_svm", "seed=0,1"]) == 0
    assert started == [("linear_svm", "seed=1")]
    other = json.loads(file.with_name("seed1.json").read_text(encoding="utf-8"))
    assert other["data"]["train"] != found["data"]["train"]  # each seed draws its own rows
    assert other["data"]["test"] == found["data"]["test"]
    file.write_text("{", encoding="utf-8")
    assert __main__.main([*words, "peers=linear_svm", "seed=0,1"]) == 0
    assert started[1:] == [("linear_svm", "seed=0")]
    assert json.loads(file.read_text(encoding="utf-8"))["systems"]["linear_svm"]["accuracy"] == pytest.approx(
        found["systems"]["linear_svm"]["accuracy"]
    )
    assert len(list(out.iterdir())) == 2
    assert __main__.main([*words, "peers=linear_svm", "seed=0", "model.epochs=7"]) == 0
    assert len(list(out.iterdir())) == 3  # another recipe has a folder of its own
    assert (out / page.PAGE).read_text(encoding="utf-8").count("\n## ") == 2


def test_a_peer_that_fails_or_is_absent_stops_no_other(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def status(typed: list[str]) -> int:
        _, peer, file, *_ = typed
        if peer == "transformers_trainer":
            return 1
        found = told(peer)
        if peer == "setfit":
            found = {key: value for key, value in found.items() if key != "systems"} | {"absent": "not installed"}
        Path(file).parent.mkdir(parents=True)
        Path(file).write_text(json.dumps(found), encoding="utf-8")
        return 0

    monkeypatch.setattr(__main__, "status", status)
    assert __main__.main([*words, "peers=setfit,transformers_trainer,linear_svm"]) == 1
    shown = capsys.readouterr()
    assert "transformers_trainer, seed 0: failed" in shown.err
    assert "- SetFit: not installed" in shown.out
    assert "`LinearSVC` | **50.00**" in shown.out


def test_the_best_stands_first_and_is_bold_whoever_it_is() -> None:
    found = [
        *(told("lrsl", seed, systems={"fitted": told(accuracy=0.7)["systems"]["linear_svm"]}) for seed in (0, 1)),
        *(told("linear_svm", seed, accuracy) for seed, accuracy in ((0, 0.8), (1, 0.9))),
        told("setfit", 0, 0.95),  # of one seed, which is no better than both of another's
    ]
    lines = [line for line in page.page(found).splitlines() if line.startswith("| ")][2:]
    assert [line.split(" | ")[0] for line in lines] == [
        "| SetFit",
        "| TF-IDF, `LinearSVC`",
        "| a run, the default (`fitted`)",
    ]
    assert "| **85.00 ± 7.07** | 10.5 ± 0.7 | 0.25 ± 0.00 | 1,234 ± 0 | 0, 1 |" in lines[1]
    assert lines[0].endswith("| 95.00 | 10.0 | 0.25 | 1,234 | 0 |")
    text = page.page(found)
    assert text.count("**") == 2
    assert "- train 1,192, val 48, test 60 rows; encoder FOLDER/bert" in text
    assert "- commit abc1234567; 2 CPU cores; load when each began 1.0 to 2.0" in text


@pytest.mark.parametrize(("key", "named"), [("data", "rows"), ("weights", "weights of the encoder")])
def test_other_rows_or_weights_are_refused(key: str, named: str) -> None:
    with pytest.raises(InputError, match=f"setfit and linear_svm were measured on other {named}"):
        page.page([told(), told("setfit", **{key: "others"})])
    assert "## `dataset=tiny`" in page.page([told(), told("setfit")])


def test_what_is_absent_is_looked_for_again(tmp_path: Path) -> None:
    file = tmp_path / "seed0.json"
    assert not __main__.is_done(page.result(file))
    for content, done in (("{", False), ("[]", False), (json.dumps(told()), True)):
        file.write_text(content, encoding="utf-8")
        assert __main__.is_done(page.result(file)) is done
    file.write_text(json.dumps(told(absent="not installed")), encoding="utf-8")
    assert not __main__.is_done(page.result(file))


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("banking77", "banking77 is no KEY=VALUE; write it as in dataset=banking77"),
        ("seed=0,x", "seed=0,x is no list of whole numbers"),
        ("seed=1,1", "seed=1,1 has a number twice"),
        ("peers=setfi", "peers=setfi is unknown; use some of linear_svm"),
        ("peers=setfit,setfit", "peers=setfit,setfit has a name twice"),
        ("out=FOLDER", "out is given twice"),
        ("model.pretrained=x", "model.pretrained is set by this command; give encoder=FOLDER"),
        ("dataset.tain=x", "dataset.tain"),
        ("model=aphan", "model.architecture=aphan has no peers; use encoder"),
        ("dataset.train=nowhere.csv", "dataset.train has no meaning for the embedded telecom34"),
    ],
)
def test_bad_input_is_one_sentence(
    word: str, sentence: str, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(__main__, "status", lambda _: pytest.fail("something was measured"))
    assert __main__.main([*words, word]) == 1
    shown = capsys.readouterr().err
    assert sentence in shown
    assert shown.count("\n") == 1


def test_out_must_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="out is not set"):
        asked(["dataset=banking77"])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file; give a folder"):
        asked([f"out={tmp_path / 'file'}"])


def test_setfit_that_is_not_there_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from experiments.peers import setfit

    missing = ModuleNotFoundError("No module named 'setfit'", name="setfit")
    finder = types.SimpleNamespace(find_spec=lambda name, *_: raise_(missing) if name == "setfit" else None)
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    monkeypatch.delitem(sys.modules, "setfit", raising=False)
    with pytest.raises(AbsentError, match="not installed: pip install --no-deps setfit evaluate"):
        setfit.imported()
    assert one.answers("setfit", task()) == "not installed: pip install --no-deps setfit evaluate"


def test_setfit_that_does_not_go_with_the_others_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from experiments.peers import setfit

    (tmp_path / "setfit.py").write_text("from transformers import of_another_version\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "setfit", raising=False)
    with pytest.raises(AbsentError, match=r"^not installable beside transformers 5\S*: ImportError: cannot import"):
        setfit.imported()


def test_setfit_is_given_as_many_pairs_as_can_be_trained_on(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from experiments.peers import setfit

    arguments: list[dict[str, Any]] = []

    class Model:
        def __init__(self, model_body: Any, model_head: Any) -> None:
            self.body, self.head = model_body, model_head

        def predict(self, texts: list[str], **_: Any) -> list[int]:
            return self.head.predict(self.body.encode(texts)).tolist()

    class Trainer:
        def __init__(self, model: Model, args: dict[str, Any], train_dataset: Any) -> None:
            self.model, self.rows = model, train_dataset
            arguments.append(args)

        def remove_callback(self, _: Any) -> None: ...

        def train(self) -> None:
            self.model.head.fit(self.model.body.encode(list(self.rows["text"])), list(self.rows["label"]))

    library = types.ModuleType("setfit")
    vars(library).update(SetFitModel=Model, Trainer=Trainer, TrainingArguments=dict)
    monkeypatch.setitem(sys.modules, "setfit", library)
    given = replace(task(40), encoder=str(tiny_bert))
    found = setfit.measure(given)["setfit"]
    assert isinstance(found, Answers)
    assert len(found.labels) == 40
    assert set(found.labels) <= {0, 1, 2, 3}
    monkeypatch.setattr(setfit, "PAIRS", 400)
    setfit.measure(given)
    monkeypatch.setattr(setfit, "PAIRS", 10)
    setfit.measure(given)
    assert [one["num_iterations"] for one in arguments] == [20, 5, 1]


FAKE = """
from types import SimpleNamespace

OptimizationConfig = SimpleNamespace

class Dataset(dict):
    from_dict = classmethod(lambda cls, rows: cls(rows))

class Pipeline:
    @classmethod
    def from_optimization_config(cls, config):
        assert config.preset == "classic-light" and config.seed == 1
        assert config.embedder_config["tokenizer_config"] == {"max_length": 7}
        return cls()

    def fit(self, rows):
        self.known = {row["utterance"]: row["label"] for row in rows["train"] + rows["validation"]}

    def predict(self, texts):
        return [self.known.get(text) for text in texts]
"""


def test_autointent_answers_from_an_environment_of_its_own(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "packages"
    for file, content in {
        "autointent/__init__.py": FAKE,
        "autointent/utils.py": "def load_preset(name):\n    return {'preset': name}\n",
        "autointent-0.0.dist-info/METADATA": "Name: autointent\nVersion: 0.0\n",
    }.items():
        (packages / file).parent.mkdir(parents=True, exist_ok=True)
        (packages / file).write_text(content)
    python = tmp_path / "python"
    python.write_text(
        f"#!{sys.executable}\nimport runpy, sys\nsys.path[0] = {str(packages)!r}\n"
        "_, isolated, what, *sys.argv = sys.argv\n"
        "exec(sys.argv[0]) if what == '-c' else (sys.argv.insert(0, what), runpy.run_path(what, run_name='__main__'))\n"
    )
    python.chmod(0o755)
    monkeypatch.setenv("AUTOINTENT_PYTHON", str(python))
    given = replace(task(40), encoder=str(tiny_bert))
    given = replace(given, recipe=replace(given.recipe, max_length=7), texts=["of nobody", *given.texts])
    answers = one.answers("autointent", given)
    assert not isinstance(answers, str)
    assert list(answers["autointent"].labels) == [-1, *given.train.labels]
    assert one.versions(answers)["autointent"].startswith("0.0 (torch ")

    (packages / "autointent/__init__.py").write_text(FAKE.replace("return cls()", "raise ValueError('too few rows')"))
    with pytest.raises(InputError, match=r"^AutoIntent has failed: .*ValueError: too few rows$"):
        one.answers("autointent", given)
    (packages / "autointent/__init__.py").write_text("import nowhere\n")
    assert one.answers("autointent", given) == f"AUTOINTENT_PYTHON={python} cannot import autointent"
    monkeypatch.setenv("AUTOINTENT_PYTHON", str(tmp_path / "none"))
    assert str(one.answers("autointent", given)).endswith("none cannot be run: No such file or directory")
    monkeypatch.delenv("AUTOINTENT_PYTHON")
    assert str(one.answers("autointent", given)).startswith("not installed: it needs an environment of its own")


def test_an_encoder_reads_what_the_classifier_of_the_run_does(tiny_bert: Path) -> None:
    given = replace(task(4), encoder=str(tiny_bert))
    longest = replace(given, recipe=replace(given.recipe, max_length=7))
    assert loaded(longest).max_seq_length == 7
    assert loaded(given).max_seq_length > 7


def test_the_recorded_page_and_what_is_said_of_it_are_those_of_its_files():
    results = ROOT / "experiments" / "results"
    found = page.read(results / "peers")
    assert (results / "peers" / page.PAGE).read_text(encoding="utf-8") == page.page(found)
    five, ten = (
        page.by_system(one for one in found if one["corpus"].endswith(f"=banking77 dataset.per_class={number}"))
        for number in (5, 10)
    )

    def mean(of: dict[int, dict[str, float]]) -> str:
        assert set(of) == {0, 1, 2}
        return f"{100 * statistics.mean(page.figures(of, 'accuracy')):.2f}"

    whole, around = "sentence_transformers_lr_refitted", "reranked_lr_out_of_fold"
    gains = [
        100 * (of[around][seed]["accuracy"] - of[whole][seed]["accuracy"]) for of in (five, ten) for seed in range(3)
    ]
    draws = [results / "banking77-5-per-class" / f"seed{seed}" / "results.json" for seed in range(3)]
    ours = [json.loads(path.read_text(encoding="utf-8"))["fitted"]["accuracy"] for path in draws]
    said = (results / "README.md").read_text(encoding="utf-8").partition("### Other tools")[2].partition("\n## ")[0]
    for sentence in (
        f"has {mean(five['sentence_transformers_lr'])} with five per label",
        f"takes it to {mean(five['reranked_lr'])}",
        f"it has {mean(five[whole])}, and with ten {mean(ten[whole])}",
        f"({100 * statistics.mean(ours):.2f} on the first three draws of five)",
        f"{mean(five[around])} and {mean(ten[around])}, the best of both tables",
        f"has {mean(five['origin'])} by its classifier, {mean(five['rerank'])} by the paper's rule and "
        f"{mean(five['fitted'])} by `fitted`",
        f"{min(gains):.2f} to {max(gains):.2f} points above the regression in each draw",
    ):
        assert sentence in " ".join(said.split())
    for page_said in ("README.md", "docs/how-to/does-it-help.md", "docs/how-to/scikit-learn.md"):
        shown = (ROOT / page_said).read_text(encoding="utf-8")
        assert {f"{mean(five[system])} %" for system in (whole, around)} <= set(re.findall(r"\d+\.\d+ %", shown))
    for of in (five, ten):
        assert max(of, key=lambda system: statistics.mean(page.figures(of[system], "accuracy"))) == around


def test_a_version_with_other_defaults_writes_beside_what_is_there(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = asked(words).folder()
    configured = composition.configured
    monkeypatch.setattr(composition, "configured", lambda overrides: configured([*overrides, "model.epochs=7"]))
    assert asked(words).configured(0).model.epochs == 7
    assert asked([*reversed(words), "data_dir=elsewhere", "seed=3"]).folder() == before
    assert asked([*words, "model.lr=1e-4"]).folder() != before


def test_classes_that_are_called_by_numbers_are_reranked(tiny_bert: Path) -> None:
    from experiments.peers import reranked_lr

    val, test = task(80, seed=1), task(80, seed=2)
    numbered = replace(task(80), val=val.train, texts=test.texts, names=["2", "0", "3", "1"], encoder=str(tiny_bert))
    found = reranked_lr.measure(numbered)
    assert set(found) == SYSTEMS["reranked_lr"]
    for answered in found.values():
        right = sum(label == true for label, true in zip(answered.labels, test.train.labels, strict=True))
        assert right > 30  # of 80, by chance 20
