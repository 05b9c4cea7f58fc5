"""How the runs of a report can be run again: commands, code, versions and settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from experiments.report.jobs import ReportedJob, commands
from experiments.runs.collect import Run
from experiments.runs.configurations import Configuration
from experiments.runs.headings import heading
from experiments.runs.significance import seeds
from lrsl.run.commit import commit

_IN_HEADINGS = ("dataset.name", "model.name")


@dataclass(frozen=True)
class Reproduction:
    """What it takes to run it all again.

    Attributes:
        commands: command lines.
        facts: name and value of whatever else has to be the same.
        settings: key and value of the settings all configurations share, and of each configuration's own.
    """

    commands: list[str]
    facts: list[tuple[str, str]]
    settings: list[tuple[str, list[tuple[str, str]]]]


def reproduction(jobs: Sequence[ReportedJob], configurations: Sequence[Configuration]) -> Reproduction:
    """Return how the runs came about, as far as they noted it."""
    runs = [run for configuration in configurations for run in configuration.runs.values()]
    return Reproduction(commands(jobs), _facts(runs), _settings(configurations))


def _settings(configurations: Sequence[Configuration]) -> list[tuple[str, list[tuple[str, str]]]]:
    shown = {
        heading(configuration): {key: _shown(value) for key, value in configuration.settings.items()}
        for configuration in configurations
    }
    keys = [key for key in dict.fromkeys(key for own in shown.values() for key in own) if key not in _IN_HEADINGS]
    shared = [key for key in keys if len({own.get(key) for own in shown.values()}) == 1]
    every = [("Settings of all runs", [(key, own[key]) for key in shared]) for own in list(shown.values())[:1]]
    each = [
        (f"Settings of {name} alone", [(key, own[key]) for key in keys if key in own and key not in shared])
        for name, own in shown.items()
    ]
    return [(name, settings) for name, settings in (*every, *each) if settings]


def _facts(runs: Sequence[Run]) -> list[tuple[str, str]]:
    facts = [("commit", _commit(runs)), ("seeds", seeds(sorted({run.seed for run in runs})).partition(" ")[2])]
    for name in ("precision", "data"):
        by_value: dict[str, list[str]] = {}
        for run in runs:
            if name in run.results:
                by_value.setdefault(str(run.results[name]), []).append(run.dataset)
        if by_value:
            values = [
                value if len(by_value) == 1 else f"{value} ({', '.join(dict.fromkeys(datasets))})"
                for value, datasets in by_value.items()
            ]
            facts.append(({"data": "data fingerprint"}.get(name, name), "; ".join(values)))
    versions: dict[str, list[str]] = {}
    for run in runs:
        for package, version in run.results.get("versions", {}).items():
            versions.setdefault(package, []).append(version)
    facts += [(package, ", ".join(dict.fromkeys(of_package))) for package, of_package in versions.items()]
    return [(name, value) for name, value in facts if value]


def _commit(runs: Sequence[Run]) -> str:
    noted = list(dict.fromkeys(run.results["commit"] for run in runs if run.results.get("commit")))
    if noted:
        return ", ".join(map(str, noted))
    here = commit()
    return f"not noted by the runs; this report was made at {here}" if here else "not noted by the runs"


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
