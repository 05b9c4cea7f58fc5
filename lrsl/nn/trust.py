"""What a folder of pretrained weights would have imported or run, and is refused for, before any library reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lrsl.errors import InputError
from lrsl.paths import leaves

OWN = "sentence_transformers."
"""What the modules of a text embedding must come from."""

_NO_SETTINGS = ("tokenizer.json", "vocab.json", "added_tokens.json", "model.safetensors.index.json")
"""JSON files that name no code, and may be large."""
_OF_MODELS = ("config.json", "modules.json", "adapter_config.json", "tokenizer_config.json", "processor_config.json")
_ADAPTER = "adapter_config.json"
_DEEPEST = 4  # folders inside each other; an embedding has its modules in folders of the first


def check_runs_nothing(folder: Path, name: str) -> None:
    """Check that no setting in a folder names code that is not of transformers, sentence-transformers or PEFT.

    The libraries are told to run none of it, too. They read more than one file: the modules of an embedding, the
    settings of network, tokenizer, processor and generation, those of adapters, and those of folders inside.

    Args:
        folder: where the weights lie.
        name: what an error calls them, as in `model.pretrained=FOLDER`.

    Raises:
        InputError: one of them does.
    """
    _check(folder, name, {folder.resolve()})


def _check(folder: Path, name: str, seen: set[Path]) -> None:
    for file, content in _settings(folder):
        for what in _code(file.name, content):
            raise InputError(
                f"{name} would run code: {file.relative_to(folder)} names {what}, and no code of a model's is ever "
                "run; give a model that transformers and sentence-transformers know themselves"
            )
        if file.name == _ADAPTER and isinstance(content, dict):
            base = Path(str(content.get("base_model_name_or_path") or ""))
            try:
                there = base.is_dir() and base.resolve() not in seen
            except (OSError, ValueError):
                there = False
            if there:
                seen.add(base.resolve())
                _check(base, f"{name}, whose adapters belong to {base},", seen)


def _settings(folder: Path, depth: int = 0) -> Iterator[tuple[Path, Any]]:
    """Yield the JSON files of a folder with what they hold; one that is no JSON is none for the libraries either."""
    try:
        inside = sorted(folder.iterdir())
    except OSError:
        return
    if not depth and not any((folder / file).is_file() for file in _OF_MODELS):
        return  # no model, and perhaps a large part of a disk
    for path in inside:
        if path.is_dir():
            if depth < _DEEPEST and not path.name.startswith("."):
                yield from _settings(path, depth + 1)
        elif path.suffix == ".json" and path.name not in _NO_SETTINGS:
            try:
                yield path, json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError):
                continue


def _code(file: str, content: Any) -> Iterator[str]:
    """Yield what settings name that would be imported, run, or fetched to be run."""
    if file == "modules.json" and isinstance(content, list):
        for module in content:
            kind, path = (str(module.get(key) or "") if isinstance(module, dict) else "" for key in ("type", "path"))
            if not _is_own_module(kind):
                yield f"the module {_short(kind or module)}"
            elif path and leaves(path):
                yield f"a module outside of it, {_short(path)}"
            elif path and not _is_looked_at(path):
                yield f"a module where none is looked for, {_short(path)}"
    waiting = [content]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield from _in_mapping(node)
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _in_mapping(node: Mapping[str, Any]) -> Iterator[str]:
    for key, value in node.items():
        if not value:
            continue
        if (
            key in ("auto_map", "custom_pipelines", "custom_generate", "trust_remote_code")
            or (key == "auto_mapping" and not _is_known_base(value))
            or (key == "megatron_core" and value != "megatron.core")
        ):
            yield f"{key} {_short(value)}"
        elif key in ("attn_implementation", "_attn_implementation", "experts_implementation") and "/" in str(value):
            yield f"the kernel {_short(value)}"
        elif key in ("types", "module_classes") and isinstance(value, dict):  # of a router
            for kind in value.values():
                if isinstance(kind, str) and "." in kind and not _is_own_module(kind):
                    yield f"the module {kind}"
        elif key == "activation_function" and isinstance(value, str) and "." in value:  # of a dense layer
            if not value.startswith("torch.nn."):
                yield f"{key} {_short(value)}"
        elif key == "activation_fn" and isinstance(value, str) and "." in value and not value.startswith("torch.nn."):
            yield f"{key} {_short(value)}"


def _is_own_module(kind: str) -> bool:
    """Tell whether a dotted name is that of a class in sentence-transformers, by its looks."""
    parts = kind.split(".")
    return kind.startswith(OWN) and all(part.isidentifier() for part in parts) and parts[-1][:1].isupper()


def _is_looked_at(folder: str) -> bool:
    """Tell whether a folder is one whose settings are read, and not hidden or deep inside others."""
    parts = [part for part in folder.replace("\\", "/").split("/") if part not in ("", ".")]
    return len(parts) <= _DEEPEST and not any(part.startswith(".") for part in parts)


def _is_known_base(mapping: Any) -> bool:
    library = str(mapping.get("parent_library") or "transformers") if isinstance(mapping, dict) else ""
    return library == "transformers" or library.startswith("transformers.")


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:79]}…"
