"""What a run's results are made of, besides its configuration and its data, as plain data; torch is not loaded for it.

A finished run keeps it beside its results. Where it differs, or cannot be told, the run is run again.
"""

from __future__ import annotations

import functools
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

    Weights that the run has fetched are known after it. A file that changes while the run works is what the run writes.
    """
    weights = {key: after["weights"][key] if value is None else value for key, value in before["weights"].items()}
    files = {
        name: None
        if known is None
        else {path: digest for path, digest in known.items() if _same(after, name, path, digest)}
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
    """Yield the keys whose value is a file or a folder that is there, weights aside."""
    for name, value in texts(settings, key):
        if name.endswith((".pretrained", "._target_")) or not value.isprintable() or value in ("", ".", "/"):
            continue
        path = Path(value).expanduser()
        try:
            there = path.is_file() or ("/" in value and path.is_dir())
        except OSError:
            continue
        if there:
            yield name, path


def content(path: Path) -> str:
    """Return a hash of what is in a file or a folder."""
    return fingerprint.sha256(path)[:16] if path.is_file() else fingerprint.of_folder(path)


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
    for name, known in before["files"].items():
        for path, digest in (known or {}).items():
            if (now["files"].get(name) or {}).get(path) != digest:
                return f"{path}, which {name} reads, has changed"
    return ""


def _same(after: Mapping[str, Any], name: str, path: str, digest: str) -> bool:
    return bool((after["files"].get(name) or {}).get(path) == digest)


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
