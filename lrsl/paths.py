"""Paths and names from others: what is no path is simply not there, and a name never leads out of its folder."""

from __future__ import annotations

from pathlib import Path


def is_file(path: Path) -> bool:
    """Tell whether there is a file; none goes by a name that is too long, or that holds a NUL."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Tell whether there is a folder; none goes by a name that is too long, or that holds a NUL."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def home_of(name: str) -> Path:
    """Return a path whose `~` is the home folder, or stays as it is where there is no such user."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def may_be(name: str) -> bool:
    """Tell whether there can be a file or folder of a name, on the usual file systems."""
    sizes = [len(part.encode(errors="replace")) for part in name.split("/")]
    return "\0" not in name and max(sizes) <= 255 and sum(sizes) + len(sizes) <= 4000


def leaves(name: str) -> bool:
    r"""Tell whether a name leads out of the folder that it is to be in, on whatever system it is read.

    `a/b.csv` stays inside; `/b.csv`, `../b.csv`, `a/../../b.csv`, `C:\\b.csv` and what holds a NUL do not.
    """
    parts = name.replace("\\", "/").split("/")
    return not name or parts[0] in ("", "~") or ":" in parts[0] or ".." in parts or "\0" in name


def is_name(name: str) -> bool:
    """Tell whether a name is that of a file in a folder and nothing else: no path, hidden, or too long for a disk."""
    plain = not leaves(name) and not {"/", "\\"} & {*name} and not name.startswith((".", "~"))
    return plain and name.isprintable() and name == name.strip() and len(name.encode(errors="replace")) <= 200
