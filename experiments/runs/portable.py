"""Texts that name no path of the machine they were written on."""

from __future__ import annotations

import re
from typing import Any

FOLDER = "FOLDER"
"""What stands in for a folder of that machine."""

_PATH = re.compile(r"""(?<![\w.:/~-])(?:~?/|[A-Za-z]:\\)[^\s,;|"'`()\[\]{}=<>]+""")
_WHOLE = re.compile(r"(?:~?/|[A-Za-z]:\\)[^/\\]")
_FOLDERS = ("data_dir", "cache_dir")


def portable(value: Any, key: str = "") -> Any:
    """Return a text, or JSON with texts in it, in which `FOLDER/NAME` stands for any absolute path.

    Args:
        value: what `json.loads` returns.
        key: the configuration key it belongs to; of one that takes a folder of data nothing but `FOLDER` is left.
    """
    if isinstance(value, dict):
        return {name: portable(of_name, name) for name, of_name in value.items()}
    if isinstance(value, list):
        return [portable(item) for item in value]
    if not isinstance(value, str):
        return value
    if _WHOLE.match(value) and "," not in value:  # a path and nothing else, which may hold spaces
        return FOLDER if key in _FOLDERS else _short(value)
    return _PATH.sub(lambda match: _short(match[0]), value)


def portable_override(override: str) -> str:
    """Return an override as typed, `key=value`, in which `FOLDER` stands for folders of this machine."""
    key, sign, value = override.partition("=")
    quote = value[:1] if value[:1] in ("'", '"') and value[-1:] == value[:1] else ""
    inner = value.removeprefix(quote).removesuffix(quote)
    return f"{key}{sign}{quote}{portable(inner, key.lstrip('+~'))}{quote}"


def is_portable(value: Any) -> bool:
    """Tell whether a folder was left out of a text."""
    return isinstance(value, str) and (value == FOLDER or value.startswith(f"{FOLDER}/"))


def _short(path: str) -> str:
    return "/".join([FOLDER, *re.split(r"[/\\]", path.rstrip("/"))[-1:]])
