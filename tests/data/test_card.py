import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from lrsl.commands.card import main
from lrsl.config.schema import DatasetConfig
from lrsl.data import Corpus, Split
from lrsl.data.card import DatasetCard, LabelCard, Length, SplitCard, characters, describe, show


def split(name: str, texts: list[str], labels: list[int]) -> Split:
    return Split([f"{name}-{i}" for i in range(len(texts))], texts, labels)


def corpus(labels: int = 3) -> Corpus:
    return Corpus(
        name="mine",
        labels=[f"label_{i}" for i in range(labels)],
        label_texts=[f"text [{i}]" for i in range(labels)],
        train=split("train", ["a b c", "a b c", "d", "e f"], [1, 1, 0, 2]),
        val=split("val", ["d", "g"], [0, 0]),
        test=split("test", ["a b c", "a b c", "h i j k"], [1, 1, 0]),
        groups=["x", "y", "x", *["z"] * (labels - 3)],
        unlabelled=split("unlabelled", ["g"], [-1]),
    )


CONFIG = DatasetConfig(name="mine", language="en", licence="CC BY 4.0", source="here")


def printed(card: DatasetCard) -> str:
    stream = StringIO()
    show(card, Console(file=stream, width=160))
    return stream.getvalue()


def test_the_numbers() -> None:
    card = describe(corpus(), CONFIG)
    assert card.unit == "words"
    assert card.splits == [
        SplitCard("train", 4, 3, Length(9 / 4, 2.5, 3), 1),
        SplitCard("val", 2, 1, Length(1, 1, 1), 0),
        SplitCard("test", 3, 2, Length(10 / 3, 3, 4), 1),
        SplitCard("unlabelled", 1, None, Length(1, 1, 1), 0),
    ]
    assert card.length == Length(21 / 9, 3, 4)
    assert card.labels == [
        LabelCard("label_1", "text [1]", "y", 2),
        LabelCard("label_0", "text [0]", "x", 1),
        LabelCard("label_2", "text [2]", "x", 1),
    ]
    assert card.groups == 2
    assert {pair: n for pair, n in card.shared.items() if n} == {
        ("train", "val"): 1,
        ("train", "test"): 2,
        ("val", "unlabelled"): 1,
    }


def test_lengths_in_any_unit() -> None:
    chinese = describe(corpus(), DatasetConfig(language="zh"))
    assert (chinese.unit, chinese.splits[0].length.longest) == ("characters", 3)
    assert characters("客服：您好\n客户： 嗯") == 9
    tokens = describe(corpus(), CONFIG, lambda text: 7, "MiniLM tokens")
    assert (tokens.unit, tokens.length) == ("MiniLM tokens", Length(7, 7, 7))


def test_what_is_printed() -> None:
    text = printed(describe(corpus(), CONFIG))
    for part in (
        "mine: 3 labels in 2 groups, language en",
        "licence: CC BY 4.0",
        "source: here",
        "length in words",
        "1 of val also in train, 2 of test also in train, 1 of unlabelled also in val",
        "text [1]",
        "50.00%",
    ):
        assert part in text


def test_of_many_labels_head_and_tail_are_printed() -> None:
    text = printed(describe(corpus(labels=30), CONFIG))
    shown = [f"label_{i}" for i in range(30) if f"label_{i} " in text]
    assert shown == [f"label_{i}" for i in (0, 1, 2, 3, 4, 25, 26, 27, 28, 29)]
    assert "…" in text


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in ("train", "test"):
        rows = [{"text": f"{name} {i}", "label": "ab"[i % 2]} for i in range(4)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = ["dataset.train=train.jsonl", "dataset.test=test.jsonl", f"data_dir={tmp_path}"]
    assert main(["dataset=custom", *files]) == 0
    assert capsys.readouterr().out.startswith("custom: 2 labels, language en\nlicence: not stated\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dataset=tsec"], "dataset=tsec is unknown; use one of banking77, cmcc34, custom,"),
        (["dataset.nmae=x"], "dataset.nmae is no key of this configuration; did you mean dataset.name?"),
        (["dataset=custom"], "dataset.train is not set, so there is nothing to read"),
        (["dataset=tsec3,banking77"], "dataset=tsec3,banking77 asks for several cards; ask for one at a time"),
        (["tsec3"], "tsec3 cannot be read; write key=value"),
    ],
)
def test_the_commands_mistakes_are_one_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(said)
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dataset=tsec3"], "31,014"),
        (["dataset=iflytek119", "dataset.train=fewclue"], "iflytek119: 119 labels, language zh"),
        (["dataset=banking77"], "13,083"),
    ],
)
def test_cards_of_real_data(
    arguments: list[str], said: str, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, f"data_dir={data_dir}"]) == 0
    assert said in capsys.readouterr().out


def test_whatever_stands_in_the_data_is_printed_as_it_is() -> None:
    odd = "[/x][bold]:smile:[link=file:///etc]"
    texts = [odd, f"{odd} 1", f"{odd} 2"]
    found = replace(corpus(), name=odd, labels=[f"{text}!" for text in texts], label_texts=texts, groups=texts)
    printed_card = printed(describe(found, DatasetConfig(name=odd, language=odd, licence=odd, source=odd)))
    for part in (f"{odd}: 3 labels in 3 groups, language {odd}", f"licence: {odd}", f"source: {odd}", f"{odd} 1!"):
        assert part in printed_card
