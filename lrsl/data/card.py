"""What a corpus looks like in numbers: its splits, lengths, labels and duplicates."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from rich.console import Console
from rich.table import Table

from lrsl.config.schema import DatasetConfig
from lrsl.data.corpus import Corpus, Split
from lrsl.data.remarks import remarks
from lrsl.screen import literal

UNSPACED = ("ja", "lo", "km", "my", "th", "zh")
"""Languages written without spaces between words."""

_SHOWN = 5  # labels at the head and at the tail of the distribution


@dataclass(frozen=True)
class Length:
    """Length of texts, in the card's unit."""

    mean: float
    median: float
    longest: int


@dataclass(frozen=True)
class SplitCard:
    """One split.

    Attributes:
        name: `train`, `val`, `test` or `unlabelled`.
        samples: number of samples.
        labels: number of distinct labels; None for a split without labels.
        length: of its texts.
        duplicates: texts that already stand above in the same split.
    """

    name: str
    samples: int
    labels: int | None
    length: Length
    duplicates: int


@dataclass(frozen=True)
class LabelCard:
    """One label: its name, text and group, and how many training samples have it."""

    name: str
    text: str
    group: str | None
    count: int


@dataclass(frozen=True)
class DatasetCard:
    """A data set in numbers.

    Attributes:
        name: the data set's name.
        language: its texts' language.
        licence: its licence.
        source: where it comes from.
        unit: what lengths are counted in.
        groups: number of coarse labels; None when there is one level.
        splits: train, val, test and, where there is one, unlabelled.
        length: of the texts of train, val and test together.
        labels: all labels, the most frequent in train first.
        shared: by a pair of splits, the texts of the later one that also stand in the earlier one.
        remarks: sentences on what will likely be learnt wrongly.
    """

    name: str
    language: str
    licence: str
    source: str
    unit: str
    groups: int | None
    splits: list[SplitCard]
    length: Length
    labels: list[LabelCard]
    shared: dict[tuple[str, str], int]
    remarks: tuple[str, ...] = ()


def describe(
    corpus: Corpus, config: DatasetConfig, measure: Callable[[str], int] | None = None, unit: str = "tokens"
) -> DatasetCard:
    """Return the card of a corpus.

    Args:
        corpus: the data.
        config: its configuration, which has the language, licence and source.
        measure: returns the length of a text, such as its number of tokens for some tokeniser. By default that is the
            number of words between spaces, or of characters other than spaces in languages written without them.
        unit: what `measure` counts; by default it is `words` or `characters`.
    """
    if measure is None:
        measure, unit = (characters, "characters") if config.language in UNSPACED else (words, "words")
    splits = {"train": corpus.train, "val": corpus.val, "test": corpus.test}
    if corpus.unlabelled is not None:
        splits["unlabelled"] = corpus.unlabelled
    lengths = {name: [measure(text) for text in split.texts] for name, split in splits.items()}
    distinct = {name: set(split.texts) for name, split in splits.items()}
    counts = Counter(corpus.train.labels)
    order = sorted(range(len(corpus.labels)), key=lambda label: -counts[label])
    return DatasetCard(
        name=corpus.name,
        language=config.language,
        licence=config.licence,
        source=config.source,
        unit=unit,
        groups=None if corpus.groups is None else len(set(corpus.groups)),
        splits=[
            SplitCard(
                name=name,
                samples=len(split),
                labels=None if name == "unlabelled" else len(set(split.labels)),
                length=_length(lengths[name]),
                duplicates=len(split) - len(distinct[name]),
            )
            for name, split in splits.items()
        ],
        length=_length([*lengths["train"], *lengths["val"], *lengths["test"]]),
        labels=[
            LabelCard(
                corpus.labels[label],
                corpus.label_texts[label],
                None if corpus.groups is None else corpus.groups[label],
                counts[label],
            )
            for label in order
        ],
        shared={(first, other): _in(distinct[first], splits[other]) for first, other in combinations(splits, 2)},
        remarks=tuple(remarks(corpus)),
    )


def words(text: str) -> int:
    """Return the number of words between spaces."""
    return len(text.split())


def characters(text: str) -> int:
    """Return the number of characters other than spaces."""
    return sum(map(len, text.split()))


def show(card: DatasetCard, console: Console) -> None:
    """Print a card."""
    several = f" in {card.groups} groups" if card.groups else ""
    shared = ", ".join(f"{n} of {other} also in {first}" for (first, other), n in card.shared.items() if n)
    console.print(literal(f"{card.name}: {len(card.labels)} labels{several}, language {card.language}", "bold"))
    console.print(literal(f"licence: {card.licence or 'not stated'}\nsource: {card.source or 'not stated'}"))
    console.print(literal(f"splits (length in {card.unit}); texts that stand in two of them: {shared or 'none'}"))
    console.print(_split_table(card))
    console.print(literal("labels, by their number of training samples"))
    console.print(_label_table(card))
    for remark in card.remarks:
        console.print(literal(remark), soft_wrap=True)


def _split_table(card: DatasetCard) -> Table:
    table = Table("split")
    for column in ("samples", "labels", "mean", "median", "longest", "duplicates"):
        table.add_column(column, justify="right")
    for split in card.splits:
        labels = "–" if split.labels is None else str(split.labels)
        table.add_row(split.name, f"{split.samples:,}", labels, *_cells(split.length), f"{split.duplicates:,}")
    table.add_section()
    samples = sum(split.samples for split in card.splits if split.labels is not None)
    table.add_row("all labelled", f"{samples:,}", str(len(card.labels)), *_cells(card.length), "")
    return table


def _label_table(card: DatasetCard) -> Table:
    table = Table()
    table.add_column("samples", justify="right")
    table.add_column("share", justify="right")
    grouped = card.groups is not None
    for column in ("label", *(("group",) if grouped else ()), "text"):
        table.add_column(column, overflow="fold")
    total = sum(label.count for label in card.labels)
    for label in _head_and_tail(card.labels):
        if label is None:
            table.add_row("…", "…", *["…"] * (3 if grouped else 2))
        else:
            names = [label.name, label.group or "", label.text] if grouped else [label.name, label.text]
            table.add_row(f"{label.count:,}", f"{label.count / total:.2%}", *map(literal, names))
    return table


def _head_and_tail(labels: Sequence[LabelCard]) -> Iterator[LabelCard | None]:
    if len(labels) <= 2 * _SHOWN + 1:
        yield from labels
    else:
        yield from (*labels[:_SHOWN], None, *labels[-_SHOWN:])


def _cells(length: Length) -> list[str]:
    return [f"{length.mean:,.1f}", f"{length.median:,.0f}", f"{length.longest:,}"]


def _length(lengths: list[int]) -> Length:
    return Length(statistics.fmean(lengths), statistics.median(lengths), max(lengths))


def _in(texts: set[str], split: Split) -> int:
    return sum(text in texts for text in split.texts)
