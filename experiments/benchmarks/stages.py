"""What a run costs when its stages are there already."""

from __future__ import annotations

import contextlib
import csv
import io
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.benchmarks.plan import Figure, Plan, Section
from experiments.benchmarks.workload import Workload, absent, workload
from lrsl.config.schema import Config, DatasetConfig, RerankerConfig
from lrsl.data import Corpus
from lrsl.run import pipeline

ABOUT = """\
`pipeline.run` on a slice of Banking-77, in this process: a first run, which makes every stage, and then runs that
differ in the options of the reranker alone, each of which finds every stage in the store."""
POINTS = tuple({"power": power, "k": k} for power in (1.0, 2.0, 3.0) for k in (2, 3))


def measure(plan: Plan) -> Section:
    """Return what a point of a sweep over the reranker's options costs."""
    names = ("a run with other reranker options over the run that made its stages", "a run with other reranker options")
    if (reason := absent("banking77")) is not None:
        return Section(ABOUT, [Figure(name, note=reason) for name in names])
    work = workload("banking77", plan.texts, plan.held_out)
    with tempfile.TemporaryDirectory() as scratch:
        config = on_files(work, Path(scratch), plan)
        first = seconds(config, Path(scratch) / "first", plan.now)
        points = [
            seconds(with_options(config, options), Path(scratch) / f"point{i}", plan.now)
            for i, options in enumerate(POINTS)
        ]
    about = f"{len(work.corpus.train):,} training rows, {config.model.epochs} epochs: {first:.1f} s the first time"
    return Section(
        ABOUT,
        [Figure(names[0], [point / first for point in points], note=about), Figure(names[1], points, unit="s")],
    )


def with_options(config: Config, options: dict[str, float]) -> Config:
    """Return a run with other options of the reranker."""
    reranker: RerankerConfig = replace(config.reranker, power=float(options["power"]), k=int(options["k"]))
    return replace(config, reranker=reranker)


def seconds(config: Config, folder: Path, clock: Callable[[], float]) -> float:
    """Run, without a word, and return how long it took."""
    start = clock()
    with contextlib.redirect_stdout(io.StringIO()):
        pipeline.run(config, folder)
    return clock() - start


def on_files(work: Workload, folder: Path, plan: Plan) -> Config:
    """Write a workload's data into files and return the run on them, with a store of its own."""
    epochs: dict[str, Any] = {} if plan.epochs is None else {"epochs": plan.epochs}
    return replace(
        work.config,
        dataset=write(work.corpus, folder),
        model=replace(work.config.model, **epochs),
        embedding=replace(work.config.embedding, **epochs),
        cache=True,
        cache_dir=str(folder / "store"),
    )


def write(corpus: Corpus, folder: Path) -> DatasetConfig:
    """Write a corpus as tables and return the configuration that reads them."""
    files: dict[str, Any] = {}
    for name in ("train", "val", "test"):
        split = getattr(corpus, name)
        files[name] = str(folder / f"{name}.csv")
        with Path(files[name]).open("w", encoding="utf-8", newline="") as file:
            rows = zip(split.texts, (corpus.labels[label] for label in split.labels), strict=True)
            csv.writer(file).writerows([("text", "label"), *rows])
    return DatasetConfig(name=corpus.name, **files)
