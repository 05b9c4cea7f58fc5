"""Runs that belong together: those of one configuration, which differ in the seed alone."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.runs.collect import SYSTEMS, Run, predictions_file
from experiments.runs.portable import is_portable

_ABLATED = ("embedding.negatives", "embedding.finetune")


@dataclass
class Configuration:
    """The runs of one configuration.

    Attributes:
        dataset: name of the data set.
        model: name of the classifier.
        variant: which row of Table 3 they are; what cannot be known counts as `full`.
        settings: what is known of the configuration, by full key.
        runs: the finished run of each seed, by seed.
        failed: the failed run of each seed that has no finished one, by seed.
        telling: the settings that tell it from others of the same data set, classifier and variant.
    """

    dataset: str
    model: str
    variant: str
    settings: Mapping[str, Any]
    runs: dict[int, Run]
    failed: dict[int, Run]
    telling: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What tells it from others in few words; empty where there is no other."""
        text = ", ".join(f"{key}={value}" for key, value in self.telling.items())
        return text if len(self.telling) <= 2 and len(text) <= 60 else self.folder.name

    @property
    def folder(self) -> Path:
        """The folder of its runs, or one of them."""
        return home(self.all_runs[0])

    @property
    def all_runs(self) -> list[Run]:
        """Its runs, the finished first."""
        return [*self.runs.values(), *self.failed.values()]

    @property
    def embedding(self) -> str:
        """The text embedding and what it was pushed away from."""
        name = self.settings.get("embedding.name", "?")
        if self.variant == "without_finetuning":
            return f"{name}, off the shelf"
        negatives = self.settings.get("embedding.negatives")
        return f"{name}, {negatives}" if negatives else name

    def values(self, system: str, part: str = "accuracy") -> list[float]:
        """Return an accuracy of each finished run that has it, as fractions."""
        accuracies = [run.value(system, part) for run in self.runs.values()]
        return [accuracy for accuracy in accuracies if accuracy is not None]

    def differences(self, before: str, after: str, part: str = "accuracy") -> list[float]:
        """Return how much more accurate `after` is than `before` in each finished run that has both, as fractions."""
        pairs = [(run.value(before, part), run.value(after, part)) for run in self.runs.values()]
        return [second - first for first, second in pairs if first is not None and second is not None]

    def ablates(self, other: Configuration) -> bool:
        """Tell whether the two differ in the semantic mapping alone, as far as is known of both."""
        shared = (self.settings.keys() & other.settings.keys()) - set(_ABLATED)
        return (self.dataset, self.model) == (other.dataset, other.model) and all(
            self.settings[key] == other.settings[key] for key in shared
        )


def configurations(runs: Sequence[Run]) -> list[Configuration]:
    """Return the runs by configuration, those of one data set and classifier one after the other.

    Runs are of one configuration when their folders say so, as seed0, seed1, … side by side, or when their settings are
    the same and so are their data, which only runs that drew their own need not share. A run that was copied, to be
    recorded or to a folder of its own, counts once.
    """
    places = _places(runs)
    grouped: dict[tuple[str, str | None], list[Run]] = {}
    for run in sorted(runs, key=lambda run: not run.finished):  # the failed last: they do not know their data
        key = (places[home(run)], None if run.own_draw else run.results.get("data"))
        if not run.finished:
            key = next((known for known in grouped if known[0] == key[0]), key)
        grouped.setdefault(key, []).append(run)
    made = sorted(map(_configuration, grouped.values()), key=lambda each: (each.dataset, each.model, each.variant))
    _tell_apart(made)
    return made


def home(run: Run) -> Path:
    """Return the folder of a run's configuration: the one around seed0, seed1, …, else its own."""
    return run.folder.parent if re.fullmatch(r"seed\d+", run.folder.name) else run.folder


def _configuration(runs: Sequence[Run]) -> Configuration:
    known = max(runs, key=lambda run: len(run.settings))
    finished: dict[int, Run] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        other = finished.get(run.seed)
        if run.finished and (other is None or (predictions_file(run.folder) and not predictions_file(other.folder))):
            finished[run.seed] = run
    failed = {run.seed: run for run in sorted(runs, key=lambda run: run.seed) if run.seed not in finished}
    return Configuration(known.dataset, known.model, known.variant or "full", known.settings, finished, failed)


def _places(runs: Sequence[Run]) -> dict[Path, str]:
    """Return by the folder of a configuration what stands for the configuration, the same for all copies of it."""
    at_home: dict[Path, list[Run]] = defaultdict(list)
    for run in runs:
        at_home[home(run)].append(run)
    places: dict[Path, str] = {}
    originals: dict[str, str] = {}
    for path, ours in at_home.items():
        most = max((run.settings for run in ours), key=len)
        # all settings, not just what results.json names, and none in which folders were left out
        if any(key.startswith("model.") for key in most) and not any(map(is_portable, most.values())):
            places[path] = json.dumps([ours[0].dataset, ours[0].model, most], sort_keys=True)
            originals |= dict.fromkeys(_fingerprints(ours), places[path])
    for path, ours in at_home.items():
        if path not in places:
            known = (originals[figures] for figures in _fingerprints(ours) if figures in originals)
            places[path] = next(known, str(path))
            originals |= dict.fromkeys(_fingerprints(ours), places[path])
    return places


def _fingerprints(runs: Sequence[Run]) -> Iterator[str]:
    for run in runs:
        if run.finished:
            figures = [run.results[key] for key in ("sigma2_mis", *SYSTEMS)]
            yield json.dumps([run.dataset, run.model, run.seed, run.settings.get("embedding.finetune"), figures])


def _tell_apart(made: Sequence[Configuration]) -> None:
    """Fill in `telling`: the same keys for all configurations of a classifier, on whichever data set they matter."""
    siblings: dict[tuple[str, str, str], list[Configuration]] = defaultdict(list)
    for configuration in made:
        siblings[configuration.model, configuration.dataset, configuration.variant].append(configuration)
    telling: dict[str, set[str]] = defaultdict(set)
    for (model, _, _), ours in siblings.items():
        for key in {key for configuration in ours for key in configuration.settings}:
            settings = [configuration.settings for configuration in ours if key in configuration.settings]
            if len({json.dumps(known[key]) for known in settings}) > 1:
                telling[model].add(key)
    for configuration in made:
        keys = telling[configuration.model] - (set(_ABLATED) if configuration.variant != "full" else set())
        own = configuration.settings
        configuration.telling = {key: own[key] for key in sorted(keys) if key in own}
    for ours in siblings.values():
        labels = [configuration.telling for configuration in ours]
        for configuration, label in zip(ours, labels, strict=True):
            if labels.count(label) > 1:
                configuration.telling = {"folder": str(configuration.folder)}
