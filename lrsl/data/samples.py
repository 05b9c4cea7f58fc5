"""The table reader: CSV, TSV and JSON lines files become a `Corpus`."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from lrsl.config import DatasetConfig
from lrsl.data.carve import carve
from lrsl.data.corpus import Corpus, Split, Turn
from lrsl.data.fetch import locate
from lrsl.data.label_texts import readable
from lrsl.data.table import Row, read_rows
from lrsl.data.turns import dialogue_text, parse_turns
from lrsl.errors import InputError, nearest

logger = logging.getLogger("lrsl.data")


@dataclass(frozen=True)
class Sample:
    """One labelled text as its file has it, and where."""

    id: str
    place: str
    text: str
    label: str
    turns: list[Turn] | None
    group: str | None


def read_table_corpus(config: DatasetConfig, data_dir: str | None) -> Corpus:
    """Return the corpus in the files that `config.train`, `config.val` and `config.test` name.

    The labels are those of train, sorted. Without a validation file, part of train is carved off.

    Raises:
        InputError: a file or one of its records is wrong; the sentence says which, and what would be right.
    """
    train = _read_split("train", config, data_dir)
    val = _read_split("val", config, data_dir) if config.val is not None else None
    test = _read_split("test", config, data_dir)

    labels = sorted({sample.label for sample in train})
    if len(labels) == 1:
        raise InputError(
            f"{train[0].place} and all records after it have the label '{labels[0]}'; a classifier needs at least "
            f"two labels in the column dataset.label={config.label}"
        )
    train_split, test_split = _split("train", train, labels), _split("test", test, labels)
    if val is None:
        kept, carved = carve(train_split.labels, config.val_fraction, config.split_seed)
        train_split, val_split = train_split.take(kept), train_split.take(carved)
    else:
        val_split = _split("val", val, labels)
    return Corpus(
        name=config.name,
        labels=labels,
        label_texts=[readable(label) for label in labels],
        train=train_split,
        val=val_split,
        test=test_split,
        groups=_groups(labels, [*train, *(val or []), *test]) if config.group is not None else None,
    )


def _read_split(split: str, config: DatasetConfig, data_dir: str | None) -> list[Sample]:
    name = getattr(config, split)
    if not name:
        raise InputError(f"dataset.{split} is not set, so there is nothing to read; give dataset.{split}=FILE")
    path = locate(f"dataset.{split}", name, data_dir, config.download)
    rows = read_rows(path)
    text_is_turns = (
        config.turns is not None
        and config.text == DatasetConfig.text
        and not any(config.text in row.values for row in rows)
    )
    samples: list[Sample] = []
    empty: list[str] = []
    for i, row in enumerate(rows):
        turns = None
        if config.turns is not None:
            turns = parse_turns(_value(row, "turns", config), config.turn_separator, row.place)
        text = dialogue_text(turns) if turns is not None and text_is_turns else _text(row, config)
        if text.strip() and turns != []:
            label = _name(row, "label", config)
            grouped = config.group is not None and (split == "train" or config.group in row.values)
            group = _name(row, "group", config) if grouped else None
            samples.append(Sample(f"{split}-{i}", row.place, text, label, turns, group))
        elif config.empty_text == "drop":
            empty.append(row.place)
        else:
            key = "turns" if turns == [] else "text"
            raise InputError(
                f"{row.place} has nothing in the column dataset.{key}={getattr(config, key)}, an empty text; "
                "fill it in, or leave such records out with dataset.empty_text=drop"
            )
    if empty:
        logger.warning("%s: %d records with an empty text dropped, the first at %s", path, len(empty), empty[0])
    if not samples:
        raise InputError(f"{rows[0].place} and all records after it have an empty text; give records with a text")
    return samples


def _value(row: Row, key: str, config: DatasetConfig) -> Any:
    column = getattr(config, key)
    if column not in row.values:
        columns = list(row.values)
        raise InputError(
            f"{row.place} has no column '{column}' (dataset.{key}); it has {', '.join(columns)}"
            f"{nearest(column, columns)}"
        )
    return row.values[column]


def _text(row: Row, config: DatasetConfig) -> str:
    text = _value(row, "text", config)
    if text is None:
        return ""
    if not isinstance(text, str):
        raise InputError(
            f"{row.place} has a value of type {type(text).__name__} in the column dataset.text={config.text}; "
            "a text must be a string"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON can spell out half of a surrogate pair, which no tokeniser takes
        raise InputError(
            f"{row.place} has half a character ({ord(text[error.start]):#x}) in the column dataset.text={config.text}; "
            "remove it"
        ) from None
    return text


def _name(row: Row, key: str, config: DatasetConfig) -> str:
    value = _value(row, key, config)
    where = (
        f"{row.place} has {{}} in the column dataset.{key}={getattr(config, key)}; a {key} must be a name or a number"
    )
    if isinstance(value, list | dict):
        raise InputError(where.format(f"a value of type {type(value).__name__}"))
    name = "" if value is None else str(value)
    if not name.strip():
        raise InputError(where.format(f"an empty {key}"))
    return name


def _groups(labels: list[str], samples: list[Sample]) -> list[str]:
    first: dict[str, Sample] = {}
    for sample in samples:
        known = first.setdefault(sample.label, sample)
        if sample.group is not None and sample.group != known.group:
            raise InputError(
                f"the label '{sample.label}' has the group '{known.group}' at {known.place} and the group "
                f"'{sample.group}' at {sample.place}; a label must always have the same group"
            )
    return [first[label].group or "" for label in labels]


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
