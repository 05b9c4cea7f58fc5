"""What a run's results are made of, besides its configuration and its data, as plain data; torch is not loaded for it.

A finished run keeps it beside its results. Where it differs, or cannot be told, the run is run again.
"""

from __future__ import annotations

import functools
import glob
import hashlib
import importlib.metadata
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lrsl import fingerprint
from lrsl.run import sources

LIBRARIES = (
    *("torch", "transformers", "tokenizers", "pytorch-lightning", "sentence-transformers", "torchmetrics"),
    *("safetensors", "numpy", "scipy", "scikit-learn", "peft", "bitsandbytes", "crepes"),
)
"""What results are computed with, whatever the configuration."""
PACKAGE = Path(__file__).resolve().parents[1]
WRITTEN = "written by the run"
"""What stands in place of the hash of a file that a run has changed."""


def provenance(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run is made of: `libraries`, `code`, and the weights, files and source that its keys name.

    None stands for what cannot be told: weights that are not on this machine, source that is not found.

    Args:
        configuration: the run's, as plain data.
    """
    reranker = configuration["reranker"]
    folders = dict(_weights(configuration))
    names = sorted(set(sources.targets(reranker)))
    return {
        "libraries": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        "code": code(),
        "weights": {key: None if folder is None else fingerprint.of_folder(folder) for key, folder in folders.items()},
        "paths": {key: content(path) for key, path in paths(reranker, "reranker")},
        "source": {name: _known(sources.sources, name) for name in names},
        "files": {name: _known(sources.files_named, name) for name in names},
        "hashed": fingerprint.hashes_of([folder for folder in folders.values() if folder is not None]),
    }


def difference(before: Any, configuration: Mapping[str, Any]) -> str:
    """Return in a clause why results that were made of `before` may not be those of a run now; empty if they are.

    Args:
        before: what `provenance` returned when they were made, or whatever stands in its place.
        configuration: the run's, as plain data.
    """
    try:
        fingerprint.remember(before["hashed"])
        return _difference(before, provenance(configuration))
    except (TypeError, KeyError, ValueError, AttributeError):
        return "it is not known what they were made of"


def settled(before: dict[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run was made of, from how things stood before it and after it.

    Weights that the run has fetched are known after it. A file that changes while the run works is what the run writes,
    and whatever it holds is right from then on.
    """
    weights = {key: after["weights"][key] if value is None else value for key, value in before["weights"].items()}
    files = {
        name: None if known is None else known | _changed(known, after["files"].get(name) or {})
        for name, known in before["files"].items()
    }
    return {**before, "weights": weights, "files": files, "hashed": after["hashed"]}


@functools.cache
def code() -> str:
    """Return a hash of all source of this package."""
    digest = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        digest.update(f"{file.relative_to(PACKAGE).as_posix()}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def version(package: str) -> str | None:
    """Return the version of a package; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def paths(settings: Any, key: str) -> Iterator[tuple[str, Path]]:
    """Yield the keys whose value is a file or a folder that is there, weights aside.

    In the settings of a component of the user's own a folder without a slash in its name counts, and so does what a
    pattern finds.
    """
    own = tuple(_own(settings, key))
    for name, value in texts(settings, key):
        if name.endswith((".pretrained", "._target_")) or not value.isprintable() or value in ("", ".", "/"):
            continue
        path = Path(value).expanduser()
        try:
            there = path.is_file() or (("/" in value or name.startswith(own)) and path.is_dir())
        except OSError:
            continue
        if there:
            yield name, path
        elif name.startswith(own) and any(mark in value for mark in "*?["):
            yield from ((f"{name} ({found})", Path(found)) for found in glob.glob(value, recursive=True))  # noqa: PTH207  (absolute ones, too)


def content(path: Path) -> str:
    """Return a hash of what is in a file or a folder."""
    if path.is_file():
        return fingerprint.sha256(path)[:16]
    digest = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()} {fingerprint.sha256(file)}\n".encode())
    return digest.hexdigest()[:16]


def _own(settings: Any, key: str) -> Iterator[str]:
    """Yield beginnings of the keys that belong to components of the user's own."""
    if isinstance(settings, Mapping):
        if "_target_" in settings and not str(settings["_target_"]).startswith(f"{sources.OWN}."):
            yield f"{key}."
        for name, value in settings.items():
            yield from _own(value, f"{key}.{name}")
    elif isinstance(settings, list | tuple):
        for number, value in enumerate(settings):
            yield from _own(value, f"{key}.{number}")


def texts(settings: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield the texts in plain settings, each with its key below the one that is given."""
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            yield from texts(value, f"{key}.{name}")
    elif isinstance(settings, list | tuple):
        for number, value in enumerate(settings):
            yield from texts(value, f"{key}.{number}")
    elif isinstance(settings, str):
        yield key, settings


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    for name, used in now["libraries"].items():
        if (was := before["libraries"].get(name)) != used:
            return f"{name} is {used or 'not installed'} and was {was or 'not installed'}"
    if before["code"] != now["code"]:
        return "lrsl's code has changed"
    for what, said in (("weights", "the weights in {}"), ("paths", "what {} names"), ("source", "the code of {}")):
        for key, used in {**dict.fromkeys(before[what], ""), **now[what]}.items():
            if used is None:
                return f"{said.format(key)} cannot be told from others"
            if before[what].get(key) != used:
                return f"{said.format(key)} ha{'ve' if what == 'weights' else 's'} changed"
    return next((reason for name, known in now["files"].items() if (reason := _read(name, before["files"], known))), "")


def _read(name: str, before: Mapping[str, Mapping[str, str] | None], now: Mapping[str, str] | None) -> str:
    """Return in a clause why what a component reads may be another; empty if it is the same."""
    if now is None:
        return f"what {name} reads cannot be told from others"
    was = before[name] or {}
    changed = [path for path in _changed(was, now) if was.get(path) != WRITTEN]
    return f"{changed[0]}, which {name} reads, has changed" if changed else ""


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """Return, as written by a run, what is not the same in two records of files."""
    return {path: WRITTEN for path in [*before, *after] if before.get(path) != after.get(path)}


def _known(of: Any, name: str) -> dict[str, str] | None:
    try:
        found: dict[str, str] = of(name)
        return found
    except (sources.UnknownSourceError, OSError):
        return None


def _weights(configuration: Mapping[str, Any]) -> Iterator[tuple[str, Path | None]]:
    """Yield the keys that name pretrained weights, with the folders where these lie."""
    for group in ("model", "embedding"):
        yield f"{group}.pretrained", fingerprint.folder_of(str(configuration[group]["pretrained"]))
    for key, value in texts(configuration["reranker"], "reranker"):
        if key.endswith(".pretrained"):
            yield key, fingerprint.folder_of(value)
