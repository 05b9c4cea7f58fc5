"""The results of any number of runs as one tidy table, a row per run.

python -m experiments.collect multirun_outputs experiments/results --out runs.csv
"""

from __future__ import annotations

import argparse
import csv
import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lrsl.config import place
from lrsl.config.identity import NO_EFFECT
from lrsl.config.keys import model_of_any_version
from lrsl.errors import InputError, said
from lrsl.masking import masked_configuration
from lrsl.paths import is_folder
from lrsl.run import results, shapes
from lrsl.run.finished import CONFIGURATION
from lrsl.strict_json import parsed
from lrsl.text import cell, visible

logger = logging.getLogger("experiments")

SYSTEMS = ("origin", "rerank", "similarity")
"""What every run measures."""
BESIDE = ("fitted", "control")
"""What a run may measure too."""
PARTS = ("accuracy", "accuracy_hard", "accuracy_easy")
COLUMNS = (
    *("folder", "dataset", "model", "embedding", "variant", "negatives", "seed", "status", "error", "k", "power"),
    *("classes", "n_train", "n_val", "n_test", "n_hard", "sigma2_mis", "hard_fraction"),
    *(f"{system}_{part}" for system in (*SYSTEMS, *BESIDE) for part in PARTS),
    *("gain", "p_value", "deployed"),
)
"""Of the tidy table; accuracies are fractions, and what a run does not know is empty."""

_TOLD_ELSEWHERE = (*NO_EFFECT, "seed", "data_dir", "dataset.download", "dataset.licence", "dataset.source")
_OFF_THE_SHELF = " off the shelf"


@dataclass(frozen=True)
class Run:
    """What one run left in its folder.

    Attributes:
        folder: that folder.
        dataset: name of the data set.
        model: name of the classifier.
        seed: its seed.
        error: why it failed; None when it finished.
        settings: what is known of its configuration, by full key such as `model.lr`, the seed and what cannot change a
            result aside; all of it where the folder has a configuration, else what results.json says.
        results: its results.json.
    """

    folder: Path
    dataset: str
    model: str
    seed: int
    error: str | None
    settings: Mapping[str, Any]
    results: Mapping[str, Any]

    @property
    def finished(self) -> bool:
        """Whether there are figures."""
        return self.error is None

    @property
    def variant(self) -> str | None:
        """Return which row of Table 3 this is: `full`, `without_triplets`, `without_finetuning`; None if unknown."""
        if "embedding.finetune" not in self.settings:
            return None
        if not self.settings["embedding.finetune"]:
            return "without_finetuning"
        return "without_triplets" if self.settings.get("embedding.negatives") == "batch" else "full"

    @property
    def own_draw(self) -> bool:
        """Whether its seed drew its few samples, so that its data are no other run's."""
        few = self.settings.get("dataset.per_class") is not None
        return few and self.settings.get("dataset.split_seed", 0) is None

    def value(self, system: str, part: str = "accuracy") -> float | None:
        """Return an accuracy as a fraction; None where there was no sample, or the run has no such system."""
        accuracy: float | None = self.results.get(system, {}).get(part)
        return accuracy


def collect(folders: Iterable[Path]) -> list[Run]:
    """Return the runs whose results.json lies anywhere below the folders, in the order of their paths, each once.

    A damaged results.json is left out, with a warning that names it.
    """
    runs: dict[Path, Run] = {}
    for folder in folders:
        for path in sorted(folder.rglob(results.RESULTS)):
            if path.resolve() not in runs:
                run = read(path.parent)
                if run is not None:
                    runs[path.resolve()] = run
    return list(runs.values())


def read(folder: Path) -> Run | None:
    """Return the run in a folder; None, and a warning, when its results.json is damaged."""
    path = folder / results.RESULTS
    try:
        content = parsed(path.read_text(encoding="utf-8"))
        return _run(folder, content)
    except (OSError, ValueError) as error:
        reason = str(error)
    logger.warning("%s is damaged and left out (%s); run it again with rerun=true", path, " ".join(reason.split()))
    return None


def predictions_file(folder: Path) -> Path | None:
    """Return the file of a run's predictions, which may be compressed where runs are recorded; None without one."""
    return kept_file(folder, results.PREDICTIONS)


def kept_file(folder: Path, name: str) -> Path | None:
    """Return a file of a run, or its compressed form where runs are recorded; None without either."""
    return next((file for file in (folder / name, folder / f"{name}.gz") if file.is_file()), None)


def table(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return a row per run, by the names in `COLUMNS`."""
    rows = []
    for run in runs:
        row = {name: run.results.get(name) for name in COLUMNS}
        row |= {"folder": str(run.folder), "error": run.error, "status": "finished" if run.finished else "failed"}
        row |= {"variant": run.variant, "embedding": run.settings.get("embedding.name")}
        row["negatives"] = run.settings.get("embedding.negatives") if run.settings.get("embedding.finetune") else None
        if run.finished:
            systems = [*SYSTEMS, *(system for system in BESIDE if system in run.results)]
            row |= {f"{system}_{part}": run.value(system, part) for system in systems for part in PARTS}
            row["deployed"] = run.results.get("verdict", {}).get("deployed")
            row["gain"] = run.results["rerank"]["accuracy"] - run.results["origin"]["accuracy"]
            row["p_value"] = run.results.get("significance", {}).get("p_value")
        rows.append(row)
    return rows


def write(runs: Sequence[Run], file: TextIO) -> None:
    """Write the tidy table as CSV, in which text that a spreadsheet would compute has a `'` before it."""
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in table(runs))


def _cell(value: Any) -> Any:
    return cell(visible(value)) if isinstance(value, str) else value


def given_or_default(folders: Sequence[Path]) -> list[Path]:
    """Return the folders a user names, or else those in which runs are left and recorded, where they exist.

    Raises:
        InputError: a folder that is named does not exist.
    """
    for folder in folders:
        if not is_folder(folder):
            raise InputError(f"{folder} is not a folder; name one that holds the results of runs")
    return list(folders) or [folder for folder in left() if folder.is_dir()]


def recorded() -> Path:
    """Return where runs are recorded: beside the studies of a checkout, or below the working directory if installed."""
    return Path("results") if place.INSTALLED else Path(os.path.relpath(Path(__file__).parents[1] / "results"))


def left() -> tuple[Path, ...]:
    """Return where runs are looked for unless folders are named."""
    return Path("multirun_outputs"), Path("outputs"), recorded()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print or write the tidy table, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.collect",
        description="Collect the results of runs into one table (CSV), a row each.",
    )
    parser.add_argument("folder", nargs="*", type=Path, help=f"default: {', '.join(map(str, left()))}")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write it there instead of printing it")
    given = parser.parse_args(arguments)
    try:
        runs = collect(given_or_default(given.folder))
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    if given.out is None:
        write(runs, sys.stdout)
        return 0
    given.out.parent.mkdir(parents=True, exist_ok=True)
    with given.out.open("w", encoding="utf-8", newline="") as file:
        write(runs, file)
    print(f"{len(runs)} runs: {given.out}")
    return 0


def _run(folder: Path, content: Mapping[str, Any]) -> Run:
    shapes.check_results(content)
    finished = content["status"] == "finished"
    return Run(
        folder=folder,
        dataset=content["dataset"],
        model=content["model"],
        seed=int(content["seed"]),
        error=None if finished else said(content.get("error") or "no reason was recorded"),
        settings=_told_by(content) | _configured(folder),
        results=content,
    )


def _told_by(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that results.json names. Older ones say fine-tuned or not in `embedding` alone."""
    told = {f"reranker.{key}": content[key] for key in ("k", "power") if key in content}
    if "embedding" in content:
        embedding = content["embedding"]
        told["embedding.name"] = embedding.removesuffix(_OFF_THE_SHELF)
        told["embedding.finetune"] = content.get("embedding_finetuned", not embedding.endswith(_OFF_THE_SHELF))
    if content.get("negatives") is not None:
        told["embedding.negatives"] = content["negatives"]
    return told


def _configured(folder: Path) -> dict[str, Any]:
    """Return the settings in a run's folder: config.json of a finished run, Hydra's own copy of any other."""
    with suppress(OSError, ValueError):
        return dict(_flat(_of_any_version(_without_secrets(parsed((folder / CONFIGURATION).read_text("utf-8"))))))
    with suppress(OSError, ValueError, RecursionError, yaml.YAMLError, OmegaConfBaseException):
        composed = OmegaConf.to_container(OmegaConf.load(folder / ".hydra" / "config.yaml"), resolve=True)
        return dict(_flat(_of_any_version(_without_secrets(composed))))
    return {}


def _without_secrets(configuration: Any) -> Any:
    """Return a configuration as this version keeps it; earlier ones kept passwords in addresses."""
    if not isinstance(configuration, dict):
        return {}
    return masked_configuration({key: value for key, value in configuration.items() if isinstance(key, str)})


def _of_any_version(configuration: Any) -> Any:
    """Return a configuration under the names of this version."""
    if not isinstance(configuration, dict) or not isinstance(configuration.get("model"), dict):
        return configuration
    made = {**configuration, "model": model_of_any_version(configuration["model"])}
    dataset, embedding, reranker = (made.get(part) for part in ("dataset", "embedding", "reranker"))
    if isinstance(dataset, dict) and dataset.get("reader") == "telecom34":
        made["dataset"] = {"size": "full", **dataset}  # the only one that there was
    if isinstance(embedding, dict) and "pooling" in embedding:
        made["embedding"] = {**embedding, "pooling": embedding["pooling"] or "mean"}  # which null stands for
    if isinstance(reranker, dict):
        made["reranker"] = {key: _with_short_name(part) for key, part in reranker.items()}
    return made


def _with_short_name(part: Any) -> Any:
    """Return a component of the reranker by the name that this version gives its class."""
    if not isinstance(part, dict) or not str(part.get("_target_", "")).startswith("lrsl.models."):
        return part
    return {**part, "_target_": f"lrsl.{part['_target_'].rpartition('.')[2]}"}


def _flat(node: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in (node if isinstance(node, dict) else {}).items():
        name = f"{prefix}{key}"
        if name in _TOLD_ELSEWHERE:
            continue
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


if __name__ == "__main__":
    sys.exit(main())
