import csv
import gzip
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import lrsl.data
from lrsl.config.schema import DatasetConfig
from lrsl.data import Corpus, Turn, load_corpus
from lrsl.errors import InputError

CONF = Path(__file__).parents[2] / "conf" / "dataset"
TRAIN = "text,label\n" + "".join(f"text {i},{'card_arrival' if i % 2 else 'pin_blocked'}\n" for i in range(10))
TEST = "text,label\nnew text,pin_blocked\ntext 3,card_arrival\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a small corpus in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.csv").write_text(TRAIN)
    (tmp_path / "test.csv").write_text(TEST)
    return tmp_path


def load(data_dir: str | None = None, **keys: Any) -> Corpus:
    return load_corpus(DatasetConfig(**{"train": "train.csv", "test": "test.csv"} | keys), data_dir)


def refused(**keys: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(**keys)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write_lines(name: str, *records: Any) -> str:
    Path(name).write_text("".join(json.dumps(record) + "\n" for record in records))
    return name


def test_a_table_becomes_a_corpus() -> None:
    corpus = load(name="mine")
    assert (corpus.name, corpus.labels, corpus.label_texts, corpus.groups) == (
        "mine", ["card_arrival", "pin_blocked"], ["card arrival", "pin blocked"], None,
    )  # fmt: skip
    assert (len(corpus.train), len(corpus.val)) == (8, 2)
    assert corpus.test.ids == ["test-0", "test-1"]
    assert corpus.test.texts == ["new text", "text 3"]
    assert corpus.test.labels == [1, 0]
    assert corpus.test.turns is None
    for split in (corpus.train, corpus.val):
        assert [f"text {name.removeprefix('train-')}" for name in split.ids] == split.texts
        assert [int(name[-1]) % 2 == 0 for name in split.ids] == [label == 1 for label in split.labels]
    assert sorted(corpus.train.ids + corpus.val.ids) == [f"train-{i}" for i in range(10)]


def test_the_carved_split_follows_its_own_seed() -> None:
    assert load().fingerprint() == load().fingerprint()
    assert load(split_seed=1).fingerprint() != load().fingerprint()
    assert len(load(val_fraction=0.4).val) == 4


def test_test_can_be_carved_off_too() -> None:
    corpus = load(test=None, carve_test=True)
    assert [len(split) for split in (corpus.train, corpus.val, corpus.test)] == [6, 2, 2]
    assert {*corpus.train.ids, *corpus.val.ids, *corpus.test.ids} == {f"train-{i}" for i in range(10)}
    Path("two.csv").write_text("text,label\na,x\nb,y\n")
    assert "no test can be carved off the 2 training samples" in refused(train="two.csv", test=None, carve_test=True)


def test_label_texts_from_a_column() -> None:
    Path("t.csv").write_text("text,label,meaning\na,x,the first\nb,y,the_second\nc,x,the first\nd,y,the_second\n")
    assert load(train="t.csv", test="t.csv", label_text="meaning").label_texts == ["the first", "the second"]
    given = load(train="t.csv", test="t.csv", label_text="meaning", label_texts={"x": "another"})
    assert given.label_texts == ["another", "the second"]


def test_turns_in_the_column_of_the_text_and_speakers_by_another_name() -> None:
    turns = [{"speaker": "Bot", "text": "你好"}, ["2", "退订"]]
    name = write_lines("t.jsonl", *({"text": turns, "label": label} for label in "aabb"))
    corpus = load(train=name, test=name, turns="text", agent="bot", customer="2", language="zh")
    assert corpus.test.turns is not None
    assert corpus.test.turns[0] == [Turn("agent", "你好"), Turn("customer", "退订")]
    assert corpus.test.texts[0] == "客服：你好\n客户：退订"


def test_a_validation_file_is_taken_whole() -> None:
    Path("val.tsv").write_text("label\ttext\npin_blocked\tx\n")
    corpus = load(val="val.tsv")
    assert (len(corpus.train), corpus.val.ids, corpus.val.labels) == (10, ["val-0"], [1])


def test_labels_of_every_kind_become_names_and_texts_stay_verbatim() -> None:
    train = write_lines(
        "t.jsonl",
        {"q": " two  spaces\n", "y": 10},
        {"q": "b", "y": "9"},
        {"q": "c", "y": True},
        {"q": "d", "y": 9},
    )
    corpus = load(train=train, test=train, val=train, text="q", label="y", label_texts={9: "nine", True: "yes"})
    assert corpus.labels == ["10", "9", "True"]
    assert corpus.label_texts == ["10", "nine", "yes"]
    assert corpus.train.labels == [0, 1, 2, 1]
    assert corpus.train.texts[0] == " two  spaces\n"


def test_label_texts_come_from_data_dir_like_the_data(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    for name in ("train.csv", "test.csv"):
        Path(name).rename(data_dir / name)
    (data_dir / "texts.yaml").write_text("pin_blocked: my PIN is blocked\n")
    assert load(data_dir=str(data_dir), label_texts="texts.yaml").label_texts == ["card arrival", "my PIN is blocked"]


def test_groups_are_kept_per_label_and_may_be_missing_in_test() -> None:
    Path("g.csv").write_text("text,label,topic\na,x,B\nb,y,A\nc,x,B\nd,y,A\n")
    Path("t.csv").write_text("text,label\ne,y\n")
    assert load(train="g.csv", test="t.csv", group="topic").groups == ["B", "A"]


def test_turns_beside_a_text() -> None:
    records = [{"text": "summary", "label": label, "turns": ["Agent: hi", "U: yo"]} for label in "aabb"]
    corpus = load(train=write_lines("t.jsonl", *records), test="t.jsonl", turns="turns")
    assert corpus.test.texts == ["summary"] * 4
    assert corpus.test.turns == [[Turn("agent", "hi"), Turn("customer", "yo")]] * 4


def test_turns_in_place_of_a_text() -> None:
    Path("t.csv").write_text("label,call\n" + "".join(f"{label},Agent: hi | hm | customer: yo\n" for label in "aabb"))
    corpus = load(train="t.csv", test="t.csv", turns="call", turn_separator="|")
    assert corpus.train.texts == ["Agent: hi\nhm\nCustomer: yo"] * 3
    assert corpus.train.turns == [[Turn("agent", "hi"), Turn("", "hm"), Turn("customer", "yo")]] * 3
    assert "t.csv:2 has no column 'words' (dataset.text)" in refused(
        train="t.csv", test="t.csv", turns="call", text="words"
    )


def test_records_with_an_empty_text_can_be_dropped(caplog: pytest.LogCaptureFixture) -> None:
    Path("t.csv").write_text("text,label\na,x\n ,x\nb,y\n,\nc,x\nd,y\n")
    said = refused(train="t.csv", test="t.csv")
    assert said.startswith("t.csv:3 has nothing in the column dataset.text=text, an empty text; ")
    assert said.endswith("dataset.empty_text=drop")
    corpus = load(train="t.csv", val="t.csv", test="t.csv", empty_text="drop")
    assert corpus.train.ids == ["train-0", "train-2", "train-4", "train-5"]
    assert caplog.messages == ["t.csv: 2 records with an empty text dropped, the first at t.csv:3"] * 3
    Path("t.csv").write_text("text,label\n ,x\n,y\n")
    assert refused(train="t.csv", empty_text="drop").startswith("t.csv:2 and all records after it have an empty text")


def test_test_texts_that_also_stand_in_train_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="lrsl.data")
    load(val="test.csv", name="mine")
    assert caplog.messages == ["mine: 1 of 2 test texts also stand in train"]
    assert {record.levelno for record in caplog.records} == {logging.INFO}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"train": None}, "dataset.train is not set, so there is nothing to read; give dataset.train=FILE"),
        ({"test": None}, "dataset.test is not set, so there is nothing to read; give dataset.test=FILE, or have it"),
        ({"val": ""}, "dataset.val is not set, so there is nothing to read; give dataset.val=FILE"),
        ({"test": "x.csv"}, "dataset.test=x.csv is no file in the working directory; give the path of one"),
        ({"text": "txt"}, "train.csv:2 has no column 'txt' (dataset.text); it has text, label; did you mean 'text'?"),
        ({"label": "intent"}, "train.csv:2 has no column 'intent' (dataset.label); it has text, label"),
        ({"group": "labels"}, "train.csv:2 has no column 'labels' (dataset.group); it has text, label; did you mean"),
        ({"turns": "turns"}, "train.csv:2 has no column 'turns' (dataset.turns); it has text, label"),
        ({"reader": "tabel"},
         "dataset.reader=tabel is unknown; use one of table, cmcc34, iflytek119, telecom34; did you mean 'table'?"),
        ({"label_texts": {"card_arival": "x"}}, "which is no label of the training data; did you mean 'card_arrival'?"),
        ({"label_texts": {"card_arrival": "pin blocked"}}, "'card_arrival' and 'pin_blocked' have the same text"),
        ({"label_texts": "x.yaml"}, "dataset.label_texts=x.yaml is no file"),
        ({"reader": "telecom34"}, "dataset.train has no meaning for the embedded telecom34; use dataset=custom"),
        ({"size": "medium"}, "dataset.size=medium is unknown; use one of small, full"),
        ({"size": "full"}, "dataset.size=full has no meaning for custom; only the embedded telecom34 comes in sizes"),
        ({"empty_text": "skip"}, "dataset.empty_text=skip is unknown; use one of error, drop"),
        ({"val_fraction": 1.0}, "dataset.val_fraction=1.0 is out of range"),
        ({"split_seed": -1}, "dataset.split_seed=-1 is too small"),
        ({"turn_separator": ""}, "dataset.turn_separator is empty"),
    ],
)  # fmt: skip
def test_a_wrong_key_is_named(keys: dict[str, Any], said: str) -> None:
    assert said in refused(**keys)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("test.csv", "text,label\na,pin_blocked\nb,pin_bloked\n",
         "test.csv:3 has the label 'pin_bloked', which train lacks; every label of test must occur in train; "
         "did you mean 'pin_blocked'?"),
        ("val.csv", 'text,label\n"a\nb",pin_blocked\n"a\nb",new\n',
         "val.csv:4 has the label 'new', which train lacks; every label of val must occur in train"),
        ("train.csv", "text,label\na,x\nb,x\n",
         "train.csv:2 and all records after it have the label 'x'; a classifier needs at least two labels"),
        ("train.csv", "text,label\na,pin_blocked\nb,card_arrival\n", "no label has two; give dataset.val=FILE"),
        ("train.csv", "text,label\na,x\nb, \n", "train.csv:3 has an empty label in the column dataset.label=label"),
        ("train.csv", TRAIN + "a,card arrival\n",
         "the labels 'card arrival' and 'card_arrival' have the same text 'card arrival'"),
        ("test.csv", "text,label\na,pin_blocked\n\t,pin_blocked\n",
         "test.csv:3 has nothing in the column dataset.text=text, an empty text"),
        ("test.csv", "text,intent\na,pin_blocked\n",
         "test.csv:2 has no column 'label' (dataset.label); it has text, intent"),
        ("train.csv", "", "train.csv:1 is empty"),
        ("test.csv", "text,label\n", "test.csv:1 is followed by no record"),
    ],
)  # fmt: skip
def test_a_wrong_table_is_said_with_file_and_line(name: str, content: str, said: str) -> None:
    Path(name).write_text(content)
    assert said in refused(val="val.csv" if name == "val.csv" else None)


@pytest.mark.parametrize(
    ("record", "keys", "said"),
    [
        ({"text": 3, "label": "a"}, {}, "has a value of type int in the column dataset.text=text; a text must be"),
        ({"text": None, "label": "a"}, {}, "has nothing in the column dataset.text=text, an empty text"),
        ({"label": "a"}, {}, "has no column 'text' (dataset.text); it has label"),
        ({"text": "x", "label": None}, {}, "has an empty label in the column dataset.label=label"),
        ({"text": "x", "label": ["a"]}, {}, "has a value of type list in the column dataset.label=label; a label must"),
        ({"text": "x", "label": "a", "g": "other"}, {"group": "g"},
         "the label 'a' has the group 'g1' at t.jsonl:1 and the group 'other' at t.jsonl:4; a label must always have"),
        ({"text": "x", "label": "a", "g": ""}, {"group": "g"}, "has an empty group in the column dataset.group=g"),
        ({"text": "x", "label": "a", "g": "g1", "t": []}, {"turns": "t"},
         "has nothing in the column dataset.turns=t, an empty text"),
        ({"text": "x", "label": "a", "g": "g1", "t": [[]]}, {"turns": "t"}, "has a turn 1 that cannot be read"),
        ({"text": "half \ud83d", "label": "a"}, {}, "has half a character (0xd83d) in the column dataset.text=text"),
        ({"text": "x", "label": "half \ud83d"}, {}, "has half a character (0xd83d) in the column dataset.label=label"),
    ],
)  # fmt: skip
def test_a_wrong_json_record_is_said_with_file_and_line(
    record: dict[str, Any], keys: dict[str, str], said: str
) -> None:
    good = [{"text": f"text {i}", "label": "ab"[i % 2], "g": f"g{i % 2 + 1}", "t": ["hi"]} for i in range(3)]
    sentence = refused(train=write_lines("t.jsonl", *good, record), test=write_lines("good.jsonl", *good), **keys)
    assert said in sentence
    assert "t.jsonl:4 " in sentence or "t.jsonl:4;" in sentence


@pytest.mark.parametrize("name", ["banking77", "cmcc34", "custom", "iflytek119", "telecom34", "tsec3"])
def test_shipped_configurations_fit_the_schema_and_say_how_to_launch_them(name: str) -> None:
    path = CONF / f"{name}.yaml"
    loaded = OmegaConf.load(path)
    part = loaded.dataset if "dataset" in loaded else loaded  # telecom34 has a recipe of its own beside it
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(DatasetConfig), part))
    assert isinstance(config, DatasetConfig)
    assert config.name == name
    assert f"python run.py dataset={name}" in path.read_text()
    assert set(config.download) <= {config.train, config.val, config.test}


def test_the_embedded_corpus_goes_through_the_same_door() -> None:
    corpus = load(train=None, test=None, reader="telecom34", name="calls")
    assert (corpus.name, len(corpus.labels), len(set(corpus.groups or []))) == ("calls", 34, 3)
    assert corpus.train.turns is not None
    first = corpus.labels[0]
    given = load(train=None, test=None, reader="telecom34", label_texts={first: "another text"})
    assert given.label_texts == ["another text", *corpus.label_texts[1:]]
    full = load(train=None, test=None, reader="telecom34", size="full")
    assert (len(full.train), full.labels) == (2000, corpus.labels)


def test_banking77_as_it_is(data_dir: Path) -> None:
    schema = OmegaConf.structured(DatasetConfig)
    config = OmegaConf.to_object(OmegaConf.merge(schema, OmegaConf.load(CONF / "banking77.yaml")))
    assert isinstance(config, DatasetConfig)
    corpus = load_corpus(config, str(data_dir))
    assert (len(corpus.train), len(corpus.val), len(corpus.test), len(corpus.labels)) == (8002, 2001, 3080, 77)
    assert set(corpus.val.labels) == set(corpus.test.labels) == set(range(77))
    assert "card arrival" in corpus.label_texts
    with (data_dir / "banking77" / "test.csv").open(encoding="utf-8", newline="") as file:
        assert corpus.test.texts == [row["text"] for row in csv.DictReader(file)]


def test_data_never_wait_for_torch() -> None:
    code = "import sys, lrsl.data; sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    root = Path(lrsl.data.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_stray_quotation_marks_stop_a_corpus_or_are_read_as_they_are() -> None:
    content = 'text\tlabel\n"card lost\tx\ncard found\ty\nbye"\tx\nhi\ty\nyou\tx\n'
    Path("t.tsv").write_text(content)
    assert refused(train="t.tsv", test="t.tsv").startswith("t.tsv:2 opens a field with a quotation mark that is closed")
    corpus = load(train="t.tsv", val="t.tsv", test="t.tsv", quoting="none")
    assert (corpus.train.texts, corpus.train.labels) == (
        ['"card lost', "card found", 'bye"', "hi", "you"], [0, 1, 0, 1, 0],
    )  # fmt: skip
    assert "dataset.quoting=nnoe is unknown; use one of checked, trusted, none; did you" in refused(quoting="nnoe")


def test_compressed_tables() -> None:
    for name in ("train.csv", "test.csv"):
        Path(f"{name}.gz").write_bytes(gzip.compress(Path(name).read_bytes()))
    assert load(train="train.csv.gz", test="test.csv.gz").fingerprint() == load().fingerprint()


@pytest.mark.parametrize(
    ("columns", "key", "typed"),
    [
        ("text,true", "True", "true without quotation marks is read as True: for a column of that name type "
         "'dataset.label=\"true\"'"),
        ("text,label", "True", "true without quotation marks is read as True: for a column of that name type "),
        ("text,FALSE", "False", "FALSE without quotation marks is read as False: for a column of that name type "),
        ("text,007", "7", "for a column of that name type 'dataset.label=\"007\"'"),
        ("text,1e3", "1000.0", "for a column of that name type 'dataset.label=\"1e3\"'"),
    ],
)  # fmt: skip
def test_a_column_read_as_another_kind_of_value_is_typed_in_quotation_marks(columns: str, key: str, typed: str) -> None:
    Path("t.csv").write_text(f"{columns}\na,x\nb,y\n")
    assert typed in refused(train="t.csv", test="t.csv", label=key)


def test_another_separator_is_told() -> None:
    Path("t.csv").write_text("text;label\na;x\nb;y\n")
    assert refused(train="t.csv", test="t.csv") == (
        "t.csv:2 has no column 'text' (dataset.text); it has text;label; the fields of a .csv file are set apart by "
        "commas and those of a .tsv file by tabs, so save it as one"
    )


def test_names_of_files_and_columns_are_no_formats() -> None:
    Path("{0}{x}.csv").write_text("text,{y}\na,x\nb,\n")
    assert refused(train="{0}{x}.csv", label="{y}") == (
        "{0}{x}.csv:3 has an empty label in the column dataset.label={y}; a label must be a name or a number"
    )
