"""The numbers that the paper prints in its Tables 1 to 8, from paper.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

TABLES = range(1, 9)


@dataclass(frozen=True)
class Paper:
    """What the paper prints.

    Attributes:
        seeds: how many seeds its numbers are means of.
        models: its name of each classifier.
        datasets: its name of each data set.
        does_not_apply: by classifier and data set, why it has no number.
        remarks: by data set, what is to be known when numbers are compared with it.
        tables: by the table's number, data set and classifier (Table 8: data set alone), its numbers; accuracies in %.
    """

    seeds: int
    models: dict[str, str]
    datasets: dict[str, str]
    does_not_apply: dict[str, dict[str, str]]
    remarks: dict[str, str]
    tables: dict[int, dict[str, dict[str, Any]]]

    def numbers(self, table: int, dataset: str, model: str) -> dict[str, float]:
        """Return the numbers of a classifier on a data set; empty where the table has none."""
        numbers: dict[str, float] = self.tables[table].get(dataset, {}).get(model, {})
        return numbers

    def why_not(self, dataset: str, model: str) -> str | None:
        """Return why a classifier has no numbers on a data set; None where it could have some."""
        return self.does_not_apply.get(model, {}).get(dataset)


@cache
def paper() -> Paper:
    """Return what the paper prints."""
    read = yaml.safe_load((Path(__file__).parent / "paper.yaml").read_text(encoding="utf-8"))
    return Paper(
        seeds=read["seeds"],
        models=read["models"],
        datasets=read["datasets"],
        does_not_apply=read["does_not_apply"],
        remarks=read["remarks"],
        tables={number: read[f"table{number}"] for number in TABLES},
    )
