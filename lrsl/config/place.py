"""Where the configuration is, whether in a checkout or installed, and how its commands are typed there.

Importing this loads nothing, so that help and completion wait for nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
INSTALLED = (PACKAGE / "conf").is_dir()
"""Whether this came in a wheel, which carries the configuration inside the package."""
CONF = (PACKAGE if INSTALLED else PACKAGE.parent) / "conf"
"""The folder of the configuration."""
STUDIES = PACKAGE / "studies" if INSTALLED else PACKAGE.parent
"""The folder that holds the package `experiments`."""

added: list[Path] = []
"""Folders of a user's own YAML files, from `--config-dir`."""

_IN_A_CHECKOUT = {
    "run": "python run.py",
    "card": "python -m lrsl.data",
    "label-texts": "python -m lrsl.label_texts",
    "store": "python -m lrsl.store",
    "tables": "python -m experiments.tables",
    "figures": "python -m experiments.figures",
    "report": "python -m experiments.report",
    "record": "python -m experiments.record",
    "rejudge": "python -m experiments.rejudge",
}


def typed(command: str) -> str:
    """Return how a user types a command: as `lrsl` if that is what they typed, or where there is nothing else."""
    program = Path(sys.argv[0])
    through_lrsl = program.stem == "lrsl" or program == PACKAGE / "__main__.py"
    if INSTALLED or through_lrsl or command not in _IN_A_CHECKOUT:
        return f"lrsl {command}"
    return _IN_A_CHECKOUT[command]


def file_of(choice: str) -> str:
    """Return the file of a choice such as `model/bert`: below conf/, or the user's own."""
    for folder in added:
        if (folder / f"{choice}.yaml").is_file():
            return str(folder / f"{choice}.yaml")
    return f"conf/{choice}.yaml"
