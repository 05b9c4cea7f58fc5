"""One run's figures, for whoever tracks it."""

from __future__ import annotations

from pathlib import Path

from experiments.figures import plates
from experiments.figures.plate import save
from experiments.runs.collect import read
from experiments.runs.configurations import configurations


def draw(run: Path, out: Path) -> dict[str, Path]:
    """Write the figures that a run has what it takes for into a folder, as PNG, and return their paths by name."""
    left = read(run)
    drawn = plates(configurations([left])) if left is not None else []
    return {plate.name: save(plate, out, ("png",))[0] for plate in drawn if plate.panels}
