"""Plain data without secrets, to be shown to others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lrsl.config.schema import Config

_MASK = "***"
_SECRET_WORDS = {
    "key",
    "apikey",
    "token",
    "password",
    "passwd",
    "pwd",
    "secret",
    "credential",
    "credentials",
    "signature",
}


def masked(value: Any) -> Any:
    """Return a copy of plain data without its secrets: values under keys such as `api_key`, credentials in URLs."""
    if isinstance(value, Mapping):
        return {key: _MASK if _names_secret(str(key)) and inner else masked(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(inner) for inner in value]
    return without_credentials(value) if isinstance(value, str) else value


def masked_command(arguments: list[str]) -> list[str]:
    """Return the arguments of a command line, `key=value`, without secrets."""
    pairs = [argument.partition("=") for argument in arguments]
    return [f"{key}{equals}{masked({key: value})[key]}" for key, equals, value in pairs]


def plain(config: Config) -> dict[str, Any]:
    """Return a configuration as plain data without secrets."""
    whole = asdict(config)
    shown: dict[str, Any] = masked(whole)
    shown["dataset"]["label_texts"] = whole["dataset"]["label_texts"]  # a label may well be called lost_password
    return shown


def without_credentials(text: str) -> str:
    """Return text without the credentials in the URLs it holds."""
    text = re.sub(r"(?<=://)[^/\s@]+@", f"{_MASK}@", text)
    return re.sub(
        r"([?&]([^=&\s]+)=)([^&\s]+)", lambda match: match[1] + (_MASK if _names_secret(match[2]) else match[3]), text
    )


def _names_secret(key: str) -> bool:
    words = re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower())
    return not _SECRET_WORDS.isdisjoint(words)
