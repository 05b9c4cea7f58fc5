"""What `--help` prints: the text in conf/config.yaml, with the choices of each group, Hydra left unloaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import Template

import yaml

from lrsl.config import place


def help_text(folders: Sequence[Path] = ()) -> str:
    """Return what `--help` prints; Hydra would copy the whole configuration for each group it lists.

    Args:
        folders: the user's own, whose choices stand beside ours.
    """
    read = yaml.load((place.CONF / "config.yaml").read_text(encoding="utf-8"), _LOADER)
    groups = "".join(f"{group}: {', '.join(names)}\n" for group, names in choices(folders).items())
    text = Template(read["hydra"]["help"]["template"]).substitute(APP_CONFIG_GROUPS=groups)
    return text.replace("python run.py", place.typed("run")).replace("python -m lrsl.store", place.typed("store"))


def choices(folders: Sequence[Path] = ()) -> dict[str, list[str]]:
    """Return the names that can be chosen, by group, both in alphabetical order."""
    names: dict[str, set[str]] = {}
    for folder in (place.CONF, *folders):
        for path in folder.glob("*/**/*.yaml"):
            names.setdefault(path.parent.relative_to(folder).as_posix(), set()).add(path.stem)
    return {group: sorted(names[group]) for group in sorted(names)}


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C is ten times as fast
