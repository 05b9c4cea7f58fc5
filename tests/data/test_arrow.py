import json
import sys
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from pyarrow import parquet

from lrsl.config.schema import DatasetConfig
from lrsl.data import Corpus, load_corpus
from lrsl.data.arrow import read_parquet, read_saved_dataset
from lrsl.errors import InputError

TEXTS = ["lost my card", "pin blocked", "卡丢了", "no cash", "new pin", 'a "stray mark\n']
LABELS = [1, 0, 1, 0, 0, 1]
NAMES = ["pin_blocked", "card_arrival"]
FEATURES = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=NAMES)})


def dataset(texts: list[Any] = TEXTS, labels: list[Any] = LABELS) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"text": texts, "label": labels}, features=FEATURES)


def save(data: Any, folder: Path, **how: Any) -> str:
    datasets.disable_progress_bars()
    data.save_to_disk(str(folder), **how)
    return str(folder)


def load(train: str | Path, test: str | Path | None = None, data_dir: Path | None = None, **keys: Any) -> Corpus:
    config = DatasetConfig(train=str(train), test=str(test or train), **keys)
    return load_corpus(config, None if data_dir is None else str(data_dir))


def refused(*arguments: Any, **keys: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(*arguments, **keys)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def table(folder: Path, **columns: Any) -> Path:
    parquet.write_table(pa.table(columns), folder / "x.parquet")
    return folder / "x.parquet"


def test_a_parquet_file(tmp_path: Path) -> None:
    path = table(tmp_path, text=TEXTS, label=[NAMES[label] for label in LABELS])
    assert [(record.line, *record.values.values()) for record in read_parquet(path)] == [
        (row, text, NAMES[label]) for row, (text, label) in enumerate(zip(TEXTS, LABELS, strict=True), start=1)
    ]
    corpus = load(path, val=str(path))
    assert (corpus.labels, corpus.test.texts, corpus.test.labels) == (sorted(NAMES), TEXTS, [1 - n for n in LABELS])


@pytest.mark.parametrize("shards", [1, 3])
def test_a_saved_dataset_with_class_labels_by_name(tmp_path: Path, shards: int) -> None:
    folder = save(dataset(), tmp_path / "saved", num_shards=shards)
    records = read_saved_dataset(Path(folder))
    assert [record.values for record in records] == [
        {"text": text, "label": NAMES[label]} for text, label in zip(TEXTS, LABELS, strict=True)
    ]
    assert records[3].place == f"{folder}, row 4"
    assert load(folder).label_texts == ["card arrival", "pin blocked"]
    assert load("saved", data_dir=tmp_path).fingerprint() == load(folder).fingerprint()


def test_parquet_as_datasets_writes_it_has_the_names_too(tmp_path: Path) -> None:
    dataset().to_parquet(str(tmp_path / "x.parquet"))
    assert load(tmp_path / "x.parquet").labels == sorted(NAMES)


def test_shuffled_rows_keep_their_order(tmp_path: Path) -> None:
    folder = save(dataset().select([4, 0, 3, 2]), tmp_path / "saved")
    assert [record.values["text"] for record in read_saved_dataset(Path(folder))] == [TEXTS[i] for i in (4, 0, 3, 2)]


def test_a_folder_of_several_splits(tmp_path: Path) -> None:
    splits = {"train": dataset(), "validation": dataset(["v", "w"], [0, 1]), "test": dataset(["t"], [1])}
    both = save(datasets.DatasetDict(splits), tmp_path / "all")
    corpus = load(both, both, val=both)
    assert [split.texts for split in (corpus.train, corpus.val, corpus.test)] == [TEXTS, ["v", "w"], ["t"]]
    assert corpus.fingerprint() == load(f"{both}/train", f"{both}/test", val=f"{both}/validation").fingerprint()
    del splits["test"]
    rest = save(datasets.DatasetDict(splits), tmp_path / "rest")
    assert refused(rest) == (
        f"dataset.test={rest} holds the splits train, validation and none called test; name one of them, as in "
        f"dataset.test={rest}/train"
    )


def test_changed_contents_are_other_data(tmp_path: Path) -> None:
    before = load(save(dataset(), tmp_path / "saved")).fingerprint()
    assert load(save(dataset(labels=LABELS[::-1]), tmp_path / "saved")).fingerprint() != before
    path = table(tmp_path, text=TEXTS, label=list("ababab"))
    first = load(path).fingerprint()
    assert load(table(tmp_path, text=TEXTS[::-1], label=list("ababab"))).fingerprint() != first


@pytest.mark.parametrize(
    ("columns", "keys", "said"),
    [
        ({"text": ["a", None], "label": ["x", "y"]}, {},
         "row 2 has nothing in the column dataset.text=text, an empty text; fill it in, or leave such records out"),
        ({"text": ["a", "b"], "label": ["x", None]}, {}, "row 2 has an empty label in the column dataset.label=label"),
        ({"text": ["a", "b"], "label": [1.0, float("nan")]}, {}, "row 2 has an empty label in the column"),
        ({"text": [1, 2], "label": ["x", "y"]}, {},
         "row 1 has a value of type int in the column dataset.text=text; a text must be a string"),
        ({"text": [b"a", b"b"], "label": ["x", "y"]}, {}, "row 1 has a value of type bytes in the column dataset.text"),
        ({"text": [{"de": "a"}, {"de": "b"}], "label": ["x", "y"]}, {}, "row 1 has a value of type dict in the column"),
        ({"text": ["a", "b"], "label": [["x"], ["y"]]}, {}, "row 1 has a value of type list in the column"),
        ({"text": ["a", "b"], "label": [b"x", b"y"]}, {},
         "row 1 has a value of type bytes in the column dataset.label=label; a label must be a name or a number"),
        ({"text": ["a", "b"], "intent": ["x", "y"]}, {}, "row 1 has no column 'label' (dataset.label); it has text, i"),
        ({"text": pa.array([], pa.string()), "label": pa.array([], pa.string())}, {}, "holds no record"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_column_is_one_sentence(
    tmp_path: Path, columns: dict[str, Any], keys: dict[str, str], said: str
) -> None:
    sentence = refused(table(tmp_path, **columns), **keys)
    assert sentence.startswith(f"{tmp_path / 'x.parquet'}")
    assert said in sentence


def test_turns_in_a_nested_column(tmp_path: Path) -> None:
    turns = [[{"speaker": "agent", "text": "hi"}, {"speaker": "user", "text": f"{i}"}] for i in range(4)]
    corpus = load(table(tmp_path, turns=turns, label=list("abab")), turns="turns")
    assert corpus.test.texts[3] == "Agent: hi\nCustomer: 3"


def test_a_categorical_column_and_dropped_nulls(tmp_path: Path) -> None:
    labels = pa.array(["x", "y", "x", "y"]).dictionary_encode()
    corpus = load(table(tmp_path, text=["a", "b", None, "d"], label=labels), empty_text="drop", val_fraction=0.4)
    assert (corpus.labels, corpus.test.ids) == (["x", "y"], ["test-0", "test-1", "test-3"])


def test_damaged_files_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and nothing")
    assert f"{tmp_path / 'x.parquet'} cannot be read (" in refused(tmp_path / "x.parquet")
    folder = Path(save(dataset(), tmp_path / "saved"))
    (shard,) = folder.glob("*.arrow")
    shard.write_bytes(shard.read_bytes()[:99])
    assert f"{shard} cannot be read (" in refused(folder)
    shard.unlink()
    assert f"{shard} cannot be read (" in refused(folder)
    (folder / "state.json").write_text("[")
    assert refused(folder) == f"{folder / 'state.json'} is damaged; save the data set anew"
    (folder / "state.json").unlink()
    assert refused(folder).startswith(f"dataset.train={folder} is a folder that no save_to_disk of datasets has")


def test_a_label_without_a_name(tmp_path: Path) -> None:
    folder = Path(save(dataset(), tmp_path / "saved"))
    info = json.loads((folder / "dataset_info.json").read_text())
    info["features"]["label"]["names"] = ["only"]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    assert refused(folder) == (
        f"{folder}, row 1 has 1 in the column 'label', whose labels are 0 to 0; write the data anew"
    )
    unknown = save(dataset(labels=[0, 1, -1, 0, 1, 0]), tmp_path / "unknown")
    assert refused(unknown).startswith(f"{unknown}, row 3 has an empty label")


def test_without_pyarrow_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path, text=TEXTS, label=list("ababab"))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install 'lrsl[parquet]' adds it" in refused(path)
