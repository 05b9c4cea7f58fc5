"""What was measured, kept and shown: results.json, results.md and growth.svg."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from experiments.benchmarks.plan import SEED, Curve, Figure, Plan, Section, Table
from lrsl.nn.precision import native_precision
from lrsl.run.commit import commit

PACKAGES = (
    *("torch", "pytorch-lightning", "transformers", "sentence-transformers"),
    *("datasets", "hydra-core", "onnxruntime"),
)
RECORD, PAGE, PLOT = "results.json", "results.md", "growth.svg"
HEAD = """\
# Benchmarks

Written by `make bench`, which runs every section; `python -m experiments.benchmarks --section NAME` runs one and leaves
the others as they are, so each names its commit and machine. Every ratio is of two things that took turns in one
process: the median of the turns, and the smallest and the largest. How many seconds anything takes says more about the
machine. QLoRA of 7 billion parameters needs a GPU, so `python -m experiments.benchmarks.qlora` is a command of its own;
it has not been run here.
"""


def conditions(plan: Plan) -> dict[str, Any]:
    """Return all that belongs to a figure: commit, seed, machine, versions and how much was measured."""
    bfloat16 = "with" if native_precision("cpu") == "bf16-mixed" else "without"
    instructions = torch.backends.cpu.get_cpu_capability()
    return {
        "commit": commit() or "unknown",
        "seed": SEED,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores ({torch.get_num_threads()} threads), "
        f"{instructions}, {bfloat16} native bfloat16; {platform.system()}, Python {platform.python_version()}; "
        f"load {os.getloadavg()[2]:.0f}",
        "versions": {package: version(package) for package in PACKAGES},
        "plan": asdict(plan),
    }


def keep(name: str, section: Section, plan: Plan, command: str, folder: Path) -> None:
    """Put what a section came to in the place of what it came to before, and write the page anew."""
    path = folder / RECORD
    sections: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    sections[name] = {"command": command, **conditions(plan), **asdict(section)}
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(sections, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    curves = [Curve(**curve) for curve in sections.get("growth", {}).get("curves", [])]
    if curves:
        draw(curves, folder / PLOT)
    (folder / PAGE).write_text(page(sections), encoding="utf-8")


def page(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page of all sections."""
    return "\n".join([HEAD, *(section_text(name, section) for name, section in sections.items())])


def section_text(name: str, section: Mapping[str, Any]) -> str:
    """Return a section: how it was measured, its figures, its tables and its curves."""
    versions = ", ".join(f"{package} {version}" for package, version in section["versions"].items())
    clock = "" if section["plan"]["clock"] == "wall" else "; processor time instead of wall time"
    parts = [
        f"## {name}",
        section["about"],
        f"`{section['command']}` at `{section['commit']}`, seed {section['seed']}; {section['machine']}; "
        f"{versions}{clock}.",
    ]
    figures = [Figure(**figure) for figure in section["figures"]]
    if figures:
        parts.append(markdown(("", "median", "spread", "turns", "target", "", "notes"), [row(f) for f in figures]))
    for table in (Table(**table) for table in section["tables"]):
        parts += [f"{table.title}:", markdown(table.columns, table.rows)]
    curves = [Curve(**curve) for curve in section["curves"]]
    for axis in dict.fromkeys(curve.axis for curve in curves):
        here = [curve for curve in curves if curve.axis == axis]
        columns = (axis, *(f"{size:,}" for size in here[0].sizes))
        parts.append(markdown(columns, [(c.cost, *(spread(ratios, "×") for ratios in c.ratios)) for c in here]))
    if curves:
        parts.append(f"![how cost grows with samples, labels and tokens]({PLOT})")
    return "\n\n".join(parts) + "\n"


def row(figure: Figure) -> tuple[str, ...]:
    """Return the cells of a figure."""
    if not figure.values:
        return (figure.name, "–", "–", "0", "–", "", figure.note)
    least = [] if figure.at_least is None else [f"≥ {figure.at_least:g}"]
    most = [] if figure.at_most is None else [f"≤ {figure.at_most:g}"]
    reached = {None: "", True: "met", False: "**missed**"}[figure.met]
    unit = "" if figure.unit == "×" else f" {figure.unit}"
    low, high = min(figure.values), max(figure.values)
    return (
        figure.name,
        f"{figure.median:.2f}{unit}",
        f"{low:.2f} to {high:.2f}",
        str(len(figure.values)),
        ", ".join(least + most) or "–",
        reached,
        figure.note,
    )


def spread(values: Sequence[float], unit: str) -> str:
    """Return the median and, where there is more than one value, the smallest and the largest."""
    low, high = min(values), max(values)
    around = f" ({low:.1f} to {high:.1f})" if f"{low:.1f}" != f"{high:.1f}" else ""
    return f"{unit}{statistics.median(values):.1f}{around}"


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; all columns but the first and the notes are numbers."""
    rules = ["---" if i == 0 or column == "notes" else "---:" for i, column in enumerate(columns)]
    cells = [columns, rules, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def draw(curves: Sequence[Curve], path: Path) -> None:
    """Draw how cost grows, one panel for each thing that grows; dashed is what grows in proportion."""
    import matplotlib as mpl  # noqa: PLC0415  (only who draws waits for it)
    from matplotlib.figure import Figure as Drawing  # noqa: PLC0415

    axes = list(dict.fromkeys(curve.axis for curve in curves))
    with mpl.rc_context({"svg.hashsalt": "lrsl", "svg.fonttype": "none"}):
        drawing = Drawing(figsize=(3.4 * len(axes), 3.2), layout="constrained")
        panels = drawing.subplots(1, len(axes), sharey=True, squeeze=False)[0]
        for axis, panel in zip(axes, panels, strict=True):
            here = [curve for curve in curves if curve.axis == axis]
            sizes = here[0].sizes
            panel.plot(sizes, [size / sizes[0] for size in sizes], "--", color="0.7")
            for curve in here:
                panel.plot(sizes, [statistics.median(r) for r in curve.ratios], "o-", label=curve.cost)
            panel.set(xscale="log", yscale="log", xlabel=axis)
            panel.set_xticks(sizes, [f"{size:,}" for size in sizes], minor=False)
            panel.minorticks_off()
        panels[0].set_ylabel("cost over that of the smallest")
        panels[0].legend(frameon=False, fontsize="small")
        drawing.savefig(path, metadata={"Date": None})
