"""A sweep's report: one HTML file beside its summary, to be read from disk, sent by mail and kept."""

from __future__ import annotations

from pathlib import Path

from experiments.report.jobs import jobs_of
from experiments.report.page import render
from experiments.runs.configurations import configurations

FILE = "report.html"


def write(folder: Path) -> Path:
    """Write the report of a sweep, or of the runs below a folder, into that folder and return its path.

    Raises:
        InputError: the folder holds no runs, or what it holds is damaged.
    """
    jobs = jobs_of(folder)
    by_configuration = configurations([job.run for job in jobs if job.run is not None])
    path = folder / FILE
    partial = path.with_suffix(".partial")
    partial.write_text(render(folder.name, jobs, by_configuration), encoding="utf-8")
    partial.replace(path)
    return path
