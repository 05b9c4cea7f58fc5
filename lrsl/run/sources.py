"""The source that a name in a configuration stands for: its module, and what that imports, none of it executed.

What is installed is known by its version and what comes with Python by Python's. This package is known as a whole,
elsewhere; everything else is read. Imports inside functions count too, and so do the files and the variables of the
environment that a module names, whole or in parts.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.metadata
import itertools
import os
import re
import site
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from lrsl import fingerprint

OWN = "lrsl"
LONGEST_NAME = 200
"""Characters of the longest text in a module that may be the name of a file."""
MOST_FILES = 1000
"""Files that one module may name before it is said that they cannot be told."""
DEEPEST = 3
"""Folders that lie in each other, whose names stand in a module one by one."""
MODEL = "config.json"
"""The file by which the folder of a model is known."""
VARIABLE = "$"
"""What stands in front of a variable of the environment, among the files that a module reads."""
_LISTS = {"glob", "iglob", "rglob", "iterdir", "listdir", "scandir", "walk"}
_ASKS = {"get", "pop", "setdefault"}
_SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD)$", re.IGNORECASE)


class UnknownSourceError(Exception):
    """What a name stands for cannot be known without running it."""


def sources(target: str) -> dict[str, str]:
    """Return hashes of the modules that a dotted name needs, by their names, and versions of what is installed.

    Args:
        target: a module, or something in one, such as `mine.Overlap`.

    Raises:
        UnknownSourceError: its module is not found, or a module imports what it computes the name of.
    """
    importlib.invalidate_caches()
    found: dict[str, str] = {}
    waiting = [_module_of(target)]
    while waiting:
        name = waiting.pop()
        top = name.partition(".")[0]
        if name in found or top == OWN or top in sys.stdlib_module_names:
            continue
        spec = _spec(name)
        if spec is None:
            found[name] = "missing"
            continue
        if spec.origin is not None and _is_installed(Path(spec.origin)) and (version := _version(top)):
            found[top] = version
            continue
        if spec.origin is None or not Path(spec.origin).is_file():  # a folder without a module of its own
            found[name] = ""
            continue
        content = Path(spec.origin).read_bytes()
        found[name] = _as_loaded(name, hashlib.sha256(content).hexdigest()[:16])
        if spec.origin.endswith(".py"):
            tree = _parsed(content)
            waiting += _imported(tree, name, is_package=spec.submodule_search_locations is not None)
            waiting += [] if "." not in name else [name.rpartition(".")[0]]
    return found


def files_named(target: str) -> dict[str, str]:
    """Return hashes of the files that the modules of a name mention, from beside them or from the working directory.

    A file may be named in parts, as in `folder / "data" / "words.txt"`, or by a pattern. All files in a folder that is
    named count where the folder is that of a model, or the module lists folders. Variables of the environment that a
    module reads are among them, `$` in front of their names; those that hold secrets are not.

    Raises:
        UnknownSourceError: as `sources`; or a module reads a variable that it computes the name of, or names too many
            files.
    """
    found = {}
    for name in sources(target):
        spec = _spec(name)
        if spec is None or spec.origin is None or not spec.origin.endswith(".py") or _is_installed(Path(spec.origin)):
            continue
        tree = _parsed(Path(spec.origin).read_bytes())
        for path in _existing(tree, name, Path(spec.origin)):
            found[str(path)] = fingerprint.sha256(path)[:16]
        for variable in _variables(tree, name):
            value = os.environ.get(variable)
            found[VARIABLE + variable] = "" if value is None else hashlib.sha256(value.encode()).hexdigest()[:16]
    return found


def targets(settings: object) -> Iterator[str]:
    """Yield the names that stand behind `_target_` anywhere in plain settings; those of this package aside.

    What Hydra is asked to look up by its `path` is one of them.
    """
    if isinstance(settings, Mapping):
        looks_up = str(settings.get("_target_")).startswith("hydra.utils.get_")
        for key, value in settings.items():
            if key != "_target_" and not (looks_up and key == "path"):
                yield from targets(value)
            elif str(value).partition(".")[0] != OWN:
                yield str(value)
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from targets(value)


_loaded: dict[tuple[str, int], str] = {}  # what modules were when this process was first seen to have them


def _as_loaded(name: str, digest: str) -> str:
    """Return the hash of a module's file, and that of what runs here if the file has changed since it was imported."""
    if name not in sys.modules:
        return digest
    first = _loaded.setdefault((name, id(sys.modules[name])), digest)
    return digest if first == digest else f"{digest}, loaded as {first}"


def _module_of(target: str) -> str:
    parts = target.partition(":")[0].split(".")
    for end in range(len(parts), 0, -1):
        if _spec(".".join(parts[:end])) is not None:
            return ".".join(parts[:end])
    raise UnknownSourceError(f"{target} is not found")


def _spec(name: str) -> ModuleSpec | None:
    """Return where a module is, without importing it or the packages it lies in."""
    spec, path = None, None
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        if end > 1 and path is None:
            return None
        spec = _found(".".join(parts[:end]), path)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return spec


def _found(name: str, path: object) -> ModuleSpec | None:
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        try:
            spec = None if find is None else find(name, path)
        except KeyError:  # a folder without a module, which asks for its package as if that were imported
            spec = _folder(name, path)
        except Exception as error:
            raise UnknownSourceError(f"{name} is not found ({error})") from None
        if isinstance(spec, ModuleSpec):
            return spec
    # the `lrsl` command looks there last
    return PathFinder.find_spec(name, [str(Path.cwd())]) if path is None else None


def _folder(name: str, path: object) -> ModuleSpec | None:
    """Return where the modules of a package are that has no module of its own, among the folders of the one above."""
    within: list[str] = [] if path is None else list(path)  # type: ignore[call-overload]
    folders = [str(place) for folder in within if (place := Path(folder) / name.rpartition(".")[2]).is_dir()]
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = folders
    return spec if folders else None


def _parsed(content: bytes) -> ast.AST:
    try:
        return ast.parse(content)
    except (SyntaxError, ValueError):
        return ast.Module([], [])  # it cannot be imported either, and the run will say so


def _imported(tree: ast.AST, name: str, *, is_package: bool) -> Iterator[str]:
    package = name if is_package else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            if base:
                yield base
                yield from (full for alias in node.names if _spec(full := f"{base}.{alias.name}") is not None)
        elif isinstance(node, ast.Call) and _imports_by_name(node.func):
            named = node.args[0] if node.args else None
            if not (isinstance(named, ast.Constant) and isinstance(named.value, str)):
                raise UnknownSourceError(f"{name} imports what it computes the name of")
            yield f"{package}{named.value}" if named.value.startswith(".") else named.value


def _imports_by_name(function: ast.expr) -> bool:
    called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return called in ("import_module", "__import__") or (isinstance(function, ast.Name) and called in ("exec", "eval"))


def _existing(tree: ast.AST, name: str, module: Path) -> set[Path]:
    """Return the files that are there under a name that stands in a module, in parts or whole."""
    texts = {text for text in _texts(tree) if len(text) <= LONGEST_NAME and text.isprintable() and text.strip("./~* ")}
    lists = any(getattr(node, "attr", getattr(node, "id", "")) in _LISTS for node in ast.walk(tree))
    files: set[Path] = {beside for text in texts if (beside := _beside(module, text)) is not None}
    folders = {Path.cwd(), *module.parents[: name.count(".") + 1]}
    reached = folders
    for _ in range(DEEPEST + 1):
        found = {path for folder in folders for text in texts for path in _in(folder, text)}
        files |= {path for path in found if path.is_file()}
        folders = {path for path in found if path.is_dir()} - reached
        reached = reached | folders
        whole = {folder for folder in folders if lists or (folder / MODEL).is_file()}
        files |= {path for folder in whole for path in _within(folder)}
        if len(files) > MOST_FILES:
            raise UnknownSourceError(f"{name} reads more than {MOST_FILES:,} files")
    return files


def _texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _beside(module: Path, text: str) -> Path | None:
    """Return the file that differs from a module in its ending only, where a text is that ending."""
    try:
        beside = module.with_suffix(text)
        return beside if beside.is_file() else None
    except (OSError, ValueError):
        return None


def _in(folder: Path, text: str) -> list[Path]:
    """Return what is there under a name or a pattern: in a folder, or where an absolute name says."""
    try:
        if any(mark in text for mark in "*?["):
            files = (path for path in folder.glob(text.lstrip("/")) if path.is_file())
            return list(itertools.islice(files, MOST_FILES + 1))
        places = {folder / text, folder / text.lstrip("/"), Path(text).expanduser()} - {folder}
        return [path for path in places if path.is_absolute() and path.exists()]
    except (OSError, ValueError, NotImplementedError, RuntimeError, IndexError):  # no name of a file
        return []


def _within(folder: Path) -> list[Path]:
    """Return the files in a folder, compiled modules aside."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return list(itertools.islice(files, MOST_FILES + 1))


def _variables(tree: ast.AST, name: str) -> Iterator[str]:
    """Yield the variables of the environment that a module reads, those that hold secrets aside."""
    if not any(_named(node) in ("environ", "getenv") for node in ast.walk(tree)):
        return
    environ = {"environ"} | {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "os"
        for alias in node.names
        if alias.name in ("environ", "getenv")
    }
    for node in ast.walk(tree):
        key = None
        if isinstance(node, ast.Subscript) and _named(node.value) in environ and isinstance(node.ctx, ast.Load):
            key = node.slice
        elif isinstance(node, ast.Compare) and _named(node.comparators[0]) in environ:
            key = node.left
        elif isinstance(node, ast.Call) and node.args:
            asks = _named(node.func) in _ASKS and _named(getattr(node.func, "value", node)) in environ
            key = node.args[0] if asks or _named(node.func) in {"getenv", *environ} else None
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            if not _SECRET.search(key.value):
                yield key.value
        elif key is not None:
            raise UnknownSourceError(f"{name} reads a variable that it computes the name of")


def _named(node: ast.AST) -> str:
    return str(getattr(node, "attr", getattr(node, "id", getattr(node, "name", ""))))


@functools.cache
def _installed() -> tuple[Path, ...]:
    folders = {sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    return tuple(Path(folder).resolve() for folder in {*folders, *site.getsitepackages(), site.getusersitepackages()})


def _is_installed(path: Path) -> bool:
    return not path.suffix or any(folder in path.resolve().parents for folder in _installed())


@functools.cache
def _version(top: str) -> str:
    """Return the version of the distribution that an installed package comes in; empty where it comes in none."""
    try:
        return importlib.metadata.version({"sklearn": "scikit-learn"}.get(top, top))
    except importlib.metadata.PackageNotFoundError:
        names = sorted(set(_distributions().get(top, [])))  # reads all that is installed, which takes a second
        return " ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()
