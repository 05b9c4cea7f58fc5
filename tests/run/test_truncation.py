from dataclasses import replace
from pathlib import Path

import pytest
import tiny

from lrsl.commands.card import main
from lrsl.config.schema import AphanConfig, Config
from lrsl.data import Corpus, Split, load_corpus
from lrsl.run import pipeline, truncation

SHORT, LONG = "card0 a loan1", " ".join(["card0", "please", "rate3"] * 9)  # 5 and 29 tokens, of which 24 are read


def corpus(**keys: object) -> Corpus:
    rows = [("train", [SHORT, LONG, LONG, SHORT]), ("val", [SHORT, LONG]), ("test", [LONG, LONG])]
    splits = {}
    for name, texts in rows:
        numbers = range(len(texts))
        splits[name] = Split([f"{name}-{row}" for row in numbers], texts, [row % 2 for row in numbers])
    return replace(Corpus("tiny", ["a", "b"], ["card", "cash"], **splits), **keys)


@pytest.fixture
def config(tmp_path: Path, tiny_bert: Path) -> Config:
    return tiny.config(tmp_path, tiny_bert)


def test_texts_that_are_longer_are_counted(config: Config) -> None:
    found = truncation.truncated(config, corpus(label_texts=["card", LONG]))
    assert found == {
        "classifier": {"max_length": 24, "train": 2, "val": 1, "test": 2},
        "embedding": {"max_length": 24, "train": 2, "val": 1, "test": 2, "labels": 1},
    }

    def both(size: int, name: str, n: int) -> str:
        longer = f"{n} {'is' if n == 1 else 'are'} longer than the 24 tokens that the"
        return (
            f"of {size} texts of {name} {longer} classifier reads (model.max_length), and {longer} embedding reads "
            "(embedding.max_length); what is beyond is cut off"
        )

    assert list(truncation.sentences(found, corpus())) == [
        both(4, "train", 2),
        both(2, "val", 1),
        both(2, "test", 2),
        "of 2 label texts 1 is longer than the 24 tokens that the embedding reads (embedding.max_length); what is "
        "beyond is cut off",
    ]


def test_limits_are_those_of_the_configuration(config: Config) -> None:
    model, embedding = replace(config.model, max_length=5), replace(config.embedding, max_length=4)
    found = truncation.truncated(replace(config, model=model, embedding=embedding), corpus())
    assert (found["classifier"]["max_length"], found["classifier"]["train"]) == (5, 2)  # SHORT has 5
    assert (found["embedding"]["max_length"], found["embedding"]["train"]) == (4, 4)


def test_nothing_is_said_of_what_is_read_whole(config: Config, tiny_corpus: Path) -> None:
    whole = load_corpus(tiny.config(tiny_corpus, tiny_corpus).dataset, None)
    assert list(truncation.sentences(truncation.truncated(config, whole), whole)) == []


def test_aphan_reads_so_many_pairs(config: Config) -> None:
    three = "card0. cash0. loan0."
    pairs = Split(["0", "1", "2"], [three, SHORT, f"{LONG}. {SHORT}."], [0, 1, 0])
    settings = replace(config.model, architecture="aphan", pooling=None, aphan=AphanConfig(pairs=1))
    found = truncation.truncated(replace(config, model=settings), corpus(train=pairs))
    assert found["classifier"] == {"max_length": 24, "pairs": 1, "train": 2, "val": 1, "test": 2}
    said = next(truncation.sentences(found, corpus(train=pairs)))
    assert said.startswith(
        "of 3 texts of train 2 are longer than the 1 pairs of 24 tokens that the classifier reads (model.aphan.pairs, "
        "model.max_length), and 1 is longer than the 24 tokens that the embedding reads"
    )
    more = replace(config, model=replace(settings, aphan=AphanConfig(pairs=2)))
    assert truncation.truncated(more, corpus(train=pairs))["classifier"]["train"] == 1


def test_hldic_reads_label_texts_too(config: Config) -> None:
    settings = replace(config.model, architecture="hldic")
    config = replace(config, model=settings, dataset=replace(config.dataset, group="topic"))
    found = truncation.truncated(config, corpus(label_texts=[LONG, "b"], groups=["x", "y"]))
    assert found["classifier"]["labels"] == 1


@pytest.fixture
def long_corpus(tiny_corpus: Path, tmp_path: Path) -> Path:
    for name in ("train", "test"):
        lines = (tiny_corpus / f"{name}.csv").read_text(encoding="utf-8")
        (tmp_path / f"{name}.csv").write_text(lines + f"{LONG} one,card\n{LONG} two,cash\n", encoding="utf-8")
    return tmp_path


def test_a_run_says_it_before_training_and_leaves_it_in_its_results(
    long_corpus: Path, tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny.config(long_corpus, tiny_bert)
    trainer = replace(config.trainer, progress=True)
    config = replace(config, cache=True, cache_dir=str(tmp_path / "store"), trainer=trainer)
    found = pipeline.run(config, tmp_path / "first")
    said = capsys.readouterr().out
    assert found["truncated"]["classifier"]["test"] == found["truncated"]["embedding"]["test"] == 2
    assert sum(found["truncated"]["classifier"][name] for name in ("train", "val")) == 2
    assert said.count("of 62 texts of test 2 are longer than the 24 tokens that the classifier reads") == 1
    assert said.index("texts of test") < said.index("classifier, epoch 1/2")
    assert pipeline.run(config, tmp_path / "second")["truncated"] == found["truncated"]
    assert capsys.readouterr().out.count("of 62 texts of test 2 are longer") == 1


def test_the_card_says_it(long_corpus: Path, tiny_bert: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [f"dataset.{name}={long_corpus / name}.csv" for name in ("train", "test")]
    models = [f"model.pretrained={tiny_bert}", f"embedding.pretrained={tiny_bert}"]
    assert main(["dataset=custom", *files, *models]) == 0
    said = capsys.readouterr().out
    assert said.count("of 62 texts of test 2 are longer than the 24 tokens that the classifier reads") == 1
    assert main(["dataset=custom", *files, "model.pretrained=/no/such"]) == 0
    assert "how many texts are cut off is not known: model.pretrained=/no/such is no folder" in capsys.readouterr().out
