"""What label texts are worth: the table against its definition, for names, the configured texts and files."""

from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import yaml

from lrsl import core
from lrsl.commands import label_comparison
from lrsl.commands.label_texts import main
from lrsl.config import composition
from lrsl.data import Corpus, load_corpus
from lrsl.embedding import separation
from lrsl.embedding.separation import measured
from lrsl.embedding.text_embedding import encode, load_embedding


@pytest.fixture
def overrides(tiny_corpus: Path, tiny_bert: Path) -> list[str]:
    files = ["dataset.train=train.csv", "dataset.test=test.csv", f"data_dir={tiny_corpus}"]
    return ["dataset=custom", *files, f"embedding.pretrained={tiny_bert}"]


def loaded(overrides: list[str]) -> Corpus:
    config = composition.configured(overrides)
    return load_corpus(config.dataset, config.data_dir)


def rights(corpus: Corpus, bert: Path, texts: list[str]) -> tuple[list[int], int]:
    """Return how many training texts of each label are nearest to it, and how many test texts."""
    embedding = load_embedding(str(bert))
    counts = [0] * len(texts)
    found = [
        core.label_similarity(encode(embedding, split.texts), encode(embedding, texts)).argmax(1).tolist()
        for split in (corpus.train, corpus.test)
    ]
    for nearest, label in zip(found[0], corpus.train.labels, strict=True):
        counts[label] += nearest == label
    return counts, sum(nearest == label for nearest, label in zip(found[1], corpus.test.labels, strict=True))


def cells(printed: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines()]


def test_the_table(overrides: list[str], tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = loaded(overrides)
    mine = tmp_path / "mine.yaml"
    own = dict(zip(corpus.labels, (f"{label}0 {label}3 please" for label in corpus.labels), strict=True))
    mine.write_text("card: card1 card2\nloan: rate1 the loan3\nrate: card4\n", encoding="utf-8")
    given = "dataset.label_texts={" + ",".join(f"{label}:'{text}'" for label, text in own.items()) + "}"
    assert main([*overrides, given, "--compare", "names", "own", str(mine)]) == 0
    heading, _, *rows = cells(capsys.readouterr().out)
    assert heading[1:] == [
        f"of {len(corpus.train)} training texts",
        f"of {len(corpus.test)} test texts",
        "labels better than with names",
        "worse",
    ]
    texts = [
        corpus.labels,
        list(own.values()),
        ["card1 card2", "cash", "rate1 the loan3", "card4"],  # a label that the file leaves out has its name
    ]
    (first, _), *_ = counted = [rights(corpus, tiny_bert, of_row) for of_row in texts]
    for row, name, (train, test) in zip(rows, ("names", "own", str(mine)), counted, strict=True):
        better = sum(now > before for now, before in zip(train, first, strict=True))
        worse = sum(now < before for now, before in zip(train, first, strict=True))
        changes = ["", ""] if name == "names" else [str(better), str(worse)]
        right = [f"{100 * sum(train) / len(corpus.train):.1f} %", f"{100 * test / len(corpus.test):.1f} %"]
        assert row == [name, *right, *changes]
    assert any(int(row[4]) for row in rows[1:])
    assert len({row[1] for row in rows}) > 1


def test_a_test_set_without_labels_has_no_figure(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = loaded(overrides)
    unknown = replace(corpus.test, labels=[-1] * len(corpus.test))
    monkeypatch.setattr(label_comparison, "load_corpus", lambda *_: replace(corpus, test=unknown))
    assert main([*overrides, "--compare", "names"]) == 0
    heading, _, row = cells(capsys.readouterr().out)
    assert heading[2] == "of 0 test texts"
    assert row[2] == "–"
    assert row[1].endswith(" %")


def test_what_is_measured_is_drawn_label_by_label(overrides: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    train = loaded(overrides).train
    assert sorted(measured(train, 0).ids) == sorted(train.ids)
    monkeypatch.setattr(separation, "MEASURED", 7)
    drawn = measured(train, 0)
    assert [drawn.labels.count(label) for label in range(len(tiny.LABELS))] == [7] * len(tiny.LABELS)
    assert drawn == measured(train, 0) != measured(train, 1)
    assert set(zip(drawn.ids, drawn.texts, drawn.labels, strict=True)) <= set(
        zip(train.ids, train.texts, train.labels, strict=True)
    )


@pytest.mark.parametrize(
    ("compared", "said"),
    [
        (["none.yaml"], "dataset.label_texts=none.yaml is no file in the working directory nor in data_dir="),
        (["names", "nams"], "dataset.label_texts=nams is no file in the working directory nor in data_dir="),
        (["other.yaml"], "gives a text to 'crad', which is no label of the training data; did you mean 'card'?"),
        (["same.yaml"], "the labels 'card' and 'cash' have the same text 'cash'"),
    ],
)
def test_a_mistake_is_one_sentence(
    overrides: list[str],
    compared: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other.yaml").write_text("crad: plastic\n", encoding="utf-8")
    Path("same.yaml").write_text("card: cash\n", encoding="utf-8")
    assert main([*overrides, "--compare", *compared]) == 1
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_keys_of_the_writer_are_refused(overrides: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*overrides, "llm=x", "--compare", "names"]) == 1
    said = capsys.readouterr().err
    assert said == "llm=x has no effect with --compare, which writes nothing; leave it out\n"


@pytest.mark.parametrize("name", ["banking77", "telecom34", "tsec3"])
def test_the_texts_by_hand_have_a_sentence_for_every_label(name: str) -> None:
    folder = composition.CONF.parent / "experiments" / "label_texts"
    texts = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
    assert len(texts) == len(set(texts.values())) == {"banking77": 77, "telecom34": 34, "tsec3": 3}[name]
    assert all(text[0].isupper() and text[-1] in ".?" for text in texts.values())
