"""The source that a name in a configuration stands for: its module, and what that imports, none of it executed.

What is installed is known by its version and what comes with Python by Python's. This package is known as a whole,
elsewhere; everything else is read. Imports inside functions count too, and so do files that a module names in full.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.metadata
import site
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

OWN = "lrsl"
LONGEST_NAME = 200
"""Characters of the longest text in a module that may be the name of a file."""


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

    Raises:
        UnknownSourceError: as `sources`.
    """
    found = {}
    for name in sources(target):
        spec = _spec(name)
        if spec is None or spec.origin is None or not spec.origin.endswith(".py") or _is_installed(Path(spec.origin)):
            continue
        for node in ast.walk(_parsed(Path(spec.origin).read_bytes())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for path in _existing(node.value, Path(spec.origin).parent):
                    found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return found


def targets(settings: object) -> Iterator[str]:
    """Yield the names that stand behind `_target_` anywhere in plain settings; those of this package aside."""
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            if key != "_target_":
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
        except Exception as error:
            raise UnknownSourceError(f"{name} is not found ({error})") from None
        if isinstance(spec, ModuleSpec):
            return spec
    # the `lrsl` command looks there last
    return PathFinder.find_spec(name, [str(Path.cwd())]) if path is None else None


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


def _existing(text: str, folder: Path) -> Iterator[Path]:
    if not 0 < len(text) <= LONGEST_NAME or not text.isprintable():
        return
    for path in (folder / text, Path.cwd() / text):
        try:
            if path.is_file():
                yield path
        except (OSError, ValueError):
            continue


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
