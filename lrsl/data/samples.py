"""The table reader: files of any kind, and saved data sets, become a `Corpus`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from lrsl.config.quotation import typed_text
from lrsl.config.schema import DatasetConfig
from lrsl.data.arrow import read_parquet, read_saved_dataset, split_of
from lrsl.data.carve import carve
from lrsl.data.corpus import Corpus, Split, Turn
from lrsl.data.fetch import available, locate
from lrsl.data.label_texts import readable
from lrsl.data.table import PARQUET, TABLE_ENDINGS, Record, check_whole, format_of, read_records
from lrsl.data.turns import dialogue_text, parse_turns
from lrsl.errors import InputError, nearest, some

logger = logging.getLogger("lrsl.data")


Read = Callable[[Path, DatasetConfig], list[Record]]
"""Returns the records of a file."""


def read_table(path: Path, config: DatasetConfig) -> list[Record]:
    """Return the records of a file of any kind, or of a folder that `datasets.Dataset.save_to_disk` has written.

    Raises:
        InputError: it cannot be read, or is malformed.
    """
    if path.is_dir():
        return read_saved_dataset(path)
    return read_parquet(path) if format_of(path) == PARQUET else read_records(path, config.quoting)


def is_table(path: Path) -> bool:
    """Tell by its name whether `read_table` takes a file, or that it is a folder."""
    return path.is_dir() or format_of(path) in (*TABLE_ENDINGS, PARQUET)


@dataclass(frozen=True)
class Sample:
    """One labelled text as its file has it, and where."""

    id: str
    place: str
    text: str
    label: str
    turns: list[Turn] | None
    group: str | None
    label_text: str | None


def read_table_corpus(config: DatasetConfig, data_dir: str | None, read: Read = read_table) -> Corpus:
    """Return the corpus in the files that `config.train`, `config.val` and `config.test` name.

    The labels are those of train, sorted. Without a validation file, part of train is carved off; so is test, when
    `config.carve_test` says so.

    Args:
        config: the `dataset` part of the configuration.
        data_dir: folder of local copies.
        read: returns the records of a file.

    Raises:
        InputError: a file or one of its records is wrong; the sentence says which, and what would be right.
    """
    train = read_split("train", config, data_dir, read)
    val = read_split("val", config, data_dir, read) if config.val is not None else None
    carved = config.test is None and config.carve_test
    test = None if carved else read_split("test", config, data_dir, read)
    return make_corpus(config, train, val, test, read_unlabelled(config, data_dir, read))


def read_split(split: str, config: DatasetConfig, data_dir: str | None, read: Read = read_table) -> list[Sample]:
    """Return the samples in the file that `config.train`, `config.val` or `config.test` names.

    Raises:
        InputError: the file or one of its records is wrong.
    """
    name = getattr(config, split)
    if not name:
        carve = ", or have it carved off train with dataset.carve_test=true" if split == "test" else ""
        raise InputError(f"dataset.{split} is not set, so there is nothing to read; give dataset.{split}=FILE{carve}")
    path = split_of(locate(f"dataset.{split}", name, data_dir, config.download), split)
    return read_samples(path, split, config, read)


def read_samples(path: Path, split: str, config: DatasetConfig, read: Read = read_table) -> list[Sample]:
    """Return the samples in a file, named after their split and their place in the file.

    Raises:
        InputError: the file or one of its records is wrong.
    """
    records = read(path, config)
    text_is_turns = _text_is_turns(records, config)
    samples: list[Sample] = []
    empty: list[str] = []
    for i, record in enumerate(records):
        text, turns = _content(record, config, text_is_turns)
        if text.strip() and turns != []:
            label = _name(record, "label", config)
            grouped = config.group is not None and (split == "train" or config.group in record.values)
            group = _name(record, "group", config) if grouped else None
            described = config.label_text is not None and (split == "train" or config.label_text in record.values)
            label_text = _name(record, "label_text", config) if described else None
            samples.append(Sample(f"{split}-{i}", record.place, text, label, turns, group, label_text))
        elif config.empty_text == "drop":
            empty.append(record.place)
        else:
            raise InputError(
                f"{_nothing(record, turns, config)}; fill it in, or leave such records out with dataset.empty_text=drop"
            )
    if empty:
        dropped = "1 record" if len(empty) == 1 else f"{len(empty)} records"
        logger.warning("%s: %s with an empty text dropped, the first at %s", path, dropped, empty[0])
    if not samples:
        raise InputError(f"{records[0].place} and all records after it have an empty text; give records with a text")
    return samples


def make_corpus(
    config: DatasetConfig,
    train: list[Sample],
    val: list[Sample] | None,
    test: list[Sample] | None,
    unlabelled: Split | None = None,
) -> Corpus:
    """Return the corpus of these samples; validation and test are carved off train where there are none.

    Raises:
        InputError: train has one label only, another split has a label that train lacks, or a label has two groups or
            two texts.
    """
    labels = sorted({sample.label for sample in train})
    if len(labels) == 1:
        raise InputError(
            f"{train[0].place} and all records after it have the label '{labels[0]}'; a classifier needs at least "
            f"two labels in the column dataset.label={config.label}"
        )
    everything = [*train, *(val or []), *(test or [])]
    groups = _of_labels(labels, everything, "group") if config.group is not None else None
    texts = _of_labels(labels, everything, "label_text") if config.label_text is not None else labels
    train_split = _split("train", train, labels)
    if test is None:
        kept, carved = carve(train_split.labels, config.val_fraction, config.drawn_by, "test")
        train_split, test_split = train_split.take(kept), train_split.take(carved)
    else:
        test_split = _split("test", test, labels)
    if val is None:
        kept, carved = carve(train_split.labels, config.val_fraction, config.drawn_by)
        train_split, val_split = train_split.take(kept), train_split.take(carved)
    else:
        val_split = _split("val", val, labels)
    return Corpus(
        name=config.name,
        labels=labels,
        label_texts=[readable(text) for text in texts],
        train=train_split,
        val=val_split,
        test=test_split,
        groups=groups,
        unlabelled=unlabelled,
    )


def read_unlabelled(config: DatasetConfig, data_dir: str | None, read: Read = read_table) -> Split | None:
    """Return the texts in the file that `config.unlabelled` names; None, and a warning, when it is not there.

    Raises:
        InputError: one of its records is wrong.
    """
    if config.unlabelled is None:
        return None
    if not available(config.unlabelled, data_dir, config.download):
        logger.warning("%s is not there, so no %s will be written", config.unlabelled, config.leaderboard)
        return None
    path = split_of(locate("dataset.unlabelled", config.unlabelled, data_dir, config.download), "unlabelled")
    records = read(path, config)
    text_is_turns = _text_is_turns(records, config)
    contents = [_content(record, config, text_is_turns) for record in records]
    for record, (text, turns) in zip(records, contents, strict=True):
        if not text.strip() or turns == []:
            raise InputError(f"{_nothing(record, turns, config)}; fill it in, since each text needs a prediction")
    for record in records:
        check_whole(record.values.get("id"), record.place, " in the column id")
    ids = [str(record.values.get("id", i)) for i, record in enumerate(records)]
    if len(set(ids)) < len(ids):
        first = {name: i for i, name in reversed(list(enumerate(ids)))}
        again = next(record for i, record in enumerate(records) if first[ids[i]] < i)
        raise InputError(f"{again.place} has the id {again.values['id']} again; every text needs an id of its own")
    turns_of = [turns for _, turns in contents if turns is not None]
    return Split(ids=ids, texts=[text for text, _ in contents], labels=[-1] * len(records), turns=turns_of or None)


def _text_is_turns(records: list[Record], config: DatasetConfig) -> bool:
    if config.turns is None or config.turns == config.text:
        return config.turns is not None
    return config.text == DatasetConfig.text and not any(config.text in record.values for record in records)


def _content(record: Record, config: DatasetConfig, text_is_turns: bool) -> tuple[str, list[Turn] | None]:
    if config.turns is None:
        return _text(record, config), None
    marks = {mark.lower(): who for who in ("agent", "customer") if (mark := getattr(config, who))}
    turns = parse_turns(_value(record, "turns", config), config.turn_separator, record.place, marks)
    return dialogue_text(turns, config.language) if text_is_turns else _text(record, config), turns


def _nothing(record: Record, turns: list[Turn] | None, config: DatasetConfig) -> str:
    key = "turns" if turns == [] else "text"
    return f"{record.place} has nothing in the column dataset.{key}={getattr(config, key)}, an empty text"


def _value(record: Record, key: str, config: DatasetConfig) -> Any:
    column = getattr(config, key)
    if column not in record.values:
        columns = list(record.values)
        raise InputError(
            f"{record.place} has no column '{column}' (dataset.{key}); it has {some(columns)}"
            f"{_typed_without_quotes(column, columns, key) or _one_column(columns) or nearest(column, columns)}"
        )
    value = record.values[column]
    check_whole(value, record.place, f" in the column dataset.{key}={column}")
    return value


def _typed_without_quotes(column: str, columns: list[str], key: str) -> str:
    """Return how a column's name is typed that has been read as another kind of value, such as true; else nothing."""
    spellings = [name for name in columns if _as_value(name) == column]
    if not spellings and column not in ("True", "False"):
        return ""
    name = spellings[0] if spellings else column.lower()
    how = typed_text(f"dataset.{key}", name)
    return f"; {name} without quotation marks is read as {column}: for a column of that name type {how}"


def _as_value(name: str) -> str:
    """Return what comes of a text where it is read as a truth value or a number."""
    if name.lower() in ("true", "false"):
        return name.capitalize()
    for kind in (int, float):
        try:
            return str(kind(name))
        except ValueError:
            continue
    return name


def _one_column(columns: list[str]) -> str:
    """Return what to do about a table whose fields are set apart by what it takes for part of a name; else nothing."""
    if len(columns) != 1 or not any(mark in columns[0] for mark in ",;|\t"):
        return ""
    return "; the fields of a .csv file are set apart by commas and those of a .tsv file by tabs, so save it as one"


def _text(record: Record, config: DatasetConfig) -> str:
    text = _value(record, "text", config)
    if text is None:
        return ""
    if not isinstance(text, str):
        raise InputError(
            f"{record.place} has a value of type {type(text).__name__} in the column dataset.text={config.text}; "
            "a text must be a string"
        )
    return text


def _name(record: Record, key: str, config: DatasetConfig) -> str:
    value = _value(record, key, config)
    name = "" if value is None else str(value)
    if not isinstance(value, str | int | float | Decimal | None):
        wrong = f"a value of type {type(value).__name__}"
    elif not name.strip():
        wrong = f"an empty {key}"
    else:
        return name
    raise InputError(
        f"{record.place} has {wrong} in the column dataset.{key}={getattr(config, key)}; a {key} must be a name or a "
        "number"
    )


def _of_labels(labels: list[str], samples: list[Sample], key: str) -> list[str]:
    """Return what the samples say of each label, its group or its text, on which they must agree."""
    what = "text" if key == "label_text" else key
    first: dict[str, Sample] = {}
    for sample in samples:
        known = first.setdefault(sample.label, sample)
        value = getattr(sample, key)
        if value is not None and value != getattr(known, key):
            raise InputError(
                f"the label '{sample.label}' has the {what} '{getattr(known, key)}' at {known.place} and the {what} "
                f"'{value}' at {sample.place}; a label must always have the same {what}"
            )
    return [getattr(first[label], key) for label in labels]


def _split(split: str, samples: list[Sample], labels: list[str]) -> Split:
    index = {label: i for i, label in enumerate(labels)}
    for sample in samples:
        if sample.label not in index:
            raise InputError(
                f"{sample.place} has the label '{sample.label}', which train lacks; every label of {split} must occur "
                f"in train{nearest(sample.label, labels)}"
            )
    turns = [sample.turns for sample in samples if sample.turns is not None]
    return Split(
        ids=[sample.id for sample in samples],
        texts=[sample.text for sample in samples],
        labels=[index[sample.label] for sample in samples],
        turns=turns or None,
    )
