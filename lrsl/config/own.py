"""A user's own folder of YAML files, beside those that come with the package: `--config-dir FOLDER`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lrsl.config import place
from lrsl.errors import InputError
from lrsl.paths import is_folder

FLAGS = ("--config-dir", "-cd")


def take(arguments: Sequence[str]) -> tuple[list[str], list[Path]]:
    """Return the arguments without `--config-dir`, and the folder that it names, if it is there.

    Raises:
        InputError: no folder follows it, or there are several.
    """
    rest, folders = [], []
    words = iter(arguments)
    for word in words:
        flag, equals, folder = word.partition("=")
        if flag not in FLAGS:
            rest.append(word)
            continue
        folder = folder if equals else next(words, "")
        if not folder:
            raise InputError(f"{flag} names no folder; give {flag} FOLDER, which holds dataset/NAME.yaml or the like")
        folders += absolute(folder)
    if len(folders) > 1:
        raise InputError(f"--config-dir is given {len(folders)} times; give one folder, which may hold every group")
    return rest, folders


def absolute(folder: str | None) -> list[Path]:
    """Return the folder that is given, if one is, as a path that holds wherever a job runs."""
    return [] if folder is None else [Path(folder).expanduser().absolute()]


def use(folders: Sequence[Path]) -> list[str]:
    """Check the folder, remember it for what is said of a mistake, and return the override that adds it to Hydra's.

    Raises:
        InputError: it does not exist, has nothing that can be chosen, or a file that one of the package goes before.
    """
    place.added[:] = folders
    for folder in folders:
        if not is_folder(folder):
            raise InputError(f"--config-dir={folder} is no folder; name one that holds dataset/NAME.yaml or the like")
        own = sorted(path.relative_to(folder) for path in folder.glob("*/**/*.yaml"))
        for path in own:
            if (place.CONF / path).is_file():
                raise InputError(
                    f"{folder / path} would never be read, for conf/{path.as_posix()} of the package goes before it; "
                    "give it another name"
                )
        if not any((place.CONF / path.parent).is_dir() for path in own):
            raise InputError(
                f"--config-dir={folder} has nothing to choose; dataset=NAME is read from {folder}/dataset/NAME.yaml"
            )
    return [f"hydra.searchpath=[{','.join(map(_quoted, folders))}]"] if folders else []


def _quoted(folder: Path) -> str:
    escaped = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    return f"'file://{escaped}'"
