"""The report as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from experiments.figures import plates
from experiments.figures.plate import Plate, inline
from experiments.figures.style import has_chinese
from experiments.report.content import beside_table, labels_table, pairs_table, results_table, seeds_table, verdict
from experiments.report.jobs import ReportedJob
from experiments.report.reproduction import reproduction
from experiments.report.suspect_labels import suspects_table
from experiments.runs import significance
from experiments.runs.configurations import Configuration
from experiments.runs.telling import shortened, telling

SAMPLES = 200
"""The most hard samples a report holds."""
CHARACTERS = 700
"""The most of a sample's text that a report holds."""

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Figure:
    """A figure in the page: its panels as SVG elements, each with its title, and the least width of one in rem."""

    title: str
    caption: str
    width: int
    panels: list[tuple[str, Markup]]
    notes: list[str]


def render(name: str, jobs: Sequence[ReportedJob], configurations: Sequence[Configuration]) -> str:
    """Return the page.

    Whatever comes from data sets is escaped: here, or in the drawings by what draws them.

    Args:
        name: what the page is called where no run finished.
        jobs: every job, finished or not.
        configurations: the runs that left results, by configuration.
    """
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters.update(cut=_cut, chinese=lambda text: has_chinese([text]))
    style, script = ((_HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    drawn = [plate for plate in plates(configurations) if plate.name != "figure6-case-study"]  # the samples show it
    return environment.get_template("page.html.jinja").render(
        title=_of(configurations, "dataset") or name,
        subtitle=_subtitle(configurations),
        policy=_policy(script),
        style=Markup(style),
        script=Markup(script),
        verdict=verdict(configurations),
        results=results_table(configurations),
        beside=beside_table(configurations),
        seeds=seeds_table(configurations),
        failed=[(_name(job), job.failed) for job in jobs if job.failed],
        figures=[_figure(number, plate) for number, plate in enumerate(drawn)],
        labels=labels_table(configurations),
        pairs=pairs_table(configurations),
        suspects=suspects_table(configurations),
        **_samples(configurations),
        nothing_changed="No run kept predictions of which reranking changed any.",
        reproduction=reproduction(jobs, configurations),
    )


def _name(job: ReportedJob) -> str:
    if job.overrides or job.run is None:
        return " ".join(job.overrides) or "the only job"
    return f"{job.run.dataset}, {job.run.model}, seed {job.run.seed}"


def _subtitle(configurations: Sequence[Configuration]) -> str:
    seeds = sorted({seed for configuration in configurations for seed in configuration.runs})
    return f"{_of(configurations, 'model')}; {significance.seeds(seeds)}" if seeds else ""


def _of(configurations: Sequence[Configuration], part: str) -> str:
    return ", ".join(sorted({getattr(configuration, part) for configuration in configurations if configuration.runs}))


def _samples(configurations: Sequence[Configuration]) -> dict[str, Any]:
    changed = telling(configurations)
    shown = shortened(changed, SAMPLES)
    left_out = len(changed) - len(shown)
    return {
        "samples": shown,
        "samples_left_out": f"{len(shown)} of {len(changed):,} are in this file." if left_out else "",
        "kinds": sorted({sample.kind for sample in shown}),
        "runs": sorted({sample.configuration for sample in shown}),
    }


def _figure(number: int, plate: Plate) -> Figure:
    panels = [
        (panel.title, Markup(inline(panel, f"f{number}-{place}", plate.screen)))
        for place, panel in enumerate(plate.panels)
    ]
    return Figure(plate.title, plate.caption, round(6 * plate.screen[0]), panels, plate.notes)


def _policy(script: str) -> str:
    """Return a policy that lets nothing be loaded, and no script run but the one given."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _cut(text: str) -> str:
    return text if len(text) <= CHARACTERS else f"{text[:CHARACTERS].rstrip()} …"
