"""Plain data and sentences without secrets, to be kept and to be shown to others."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

MASK = "***"
"""What stands for a secret."""

_SECRET_WORDS = {
    *("key", "apikey", "token", "password", "passwd", "passphrase", "pass", "pwd", "secret", "credential"),
    *("credentials", "signature", "sig", "authorization", "auth", "bearer", "cookie", "jwt"),
    *("passwords", "passcode", "pw", "secrets"),
}
_IN_URLS = _SECRET_WORDS | {"code"}
_LABEL_TEXTS = "dataset.label_texts"

_USER = re.compile(
    r"(?:(?<=//)|(?<=\\/\\/))(?:[^\s/?#'\"]*@"  # up to the last @ before the path
    # a password may hold / and ' where nobody encoded them
    r"|[^\s/?#@:'\"]+:(?!\d{1,5}[/?#\s'\"]|\d{1,5}$)[^\s@]*@(?:[^\s/?#'\"]*@)?)"
)
_QUERY = re.compile(r"(?<=[?&#;])([^=&\s#;'\"?]+)=([^&\s#'\"<>]+)")
_HEADER = re.compile(r"(authorization['\"]?\s*[:=]\s*['\"]?(?:[a-z]+\s+)?)([^\s'\",;}]+)", re.IGNORECASE)
_COOKIE = re.compile(r"(cookie['\"]?\s*:\s*['\"]?)([^'\"\n]+)", re.IGNORECASE)
_BEARER = re.compile(r"\b(bearer\s+)(?=\S*\d)([\w.~+/=-]{8,})", re.IGNORECASE)
_ISSUED = re.compile(
    r"\b(?:sk-[\w-]{16,}|hf_\w{16,}|gh[pousr]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|AKIA[0-9A-Z]{16}|"
    r"xox[abprs]-[\w-]{10,}|AIza[\w-]{30,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+)"
)
"""How keys look that well-known services issue."""
_ASSIGNED = re.compile(
    r"([\w-]*(?:api[_-]?key|password|passwd|passphrase|secret(?:[_-]?key)?|account[_-]?key|"
    r"(?:access|auth|refresh|hf|hub)[_-]?token|sharedaccesssignature)['\"]?\s*[:=]\s*['\"]?)([^\s'\",;&}\])]+)",
    re.IGNORECASE,
)
"""What is set by a name that stands for a secret and hardly for anything else."""
_PAIR = re.compile(r"([\w.-]+)(['\"]?\s*[:=]\s*)('(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|(?![{\[])[^\s,{}\[\]'\"]+)")


def masked(value: Any) -> Any:
    """Return a copy of plain data without its secrets: values under keys such as `api_key`, credentials in URLs."""
    if isinstance(value, Mapping):
        return {key: MASK if names_secret(str(key)) and inner else masked(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(inner) for inner in value]
    return _of_setting(value) if isinstance(value, str) else value


def masked_configuration(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration, as plain data, without secrets; a label may well be called lost_password."""
    shown: dict[str, Any] = masked(configuration)
    dataset = configuration.get("dataset")
    if isinstance(dataset, Mapping) and "label_texts" in dataset:
        shown["dataset"]["label_texts"] = dataset["label_texts"]
    return shown


def masked_command(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command line, `key=value`, without secrets."""
    return [_masked_argument(*argument.partition("=")) for argument in arguments]


def without_credentials(text: str) -> str:
    """Return text without the credentials in the URLs and headers it holds, and without keys that look like such.

    What is said hides more than what is kept of settings, by which runs are told apart: `password: red` in a prompt.
    """
    text = _of_setting(text)
    for secret in (_COOKIE, _ASSIGNED):
        text = secret.sub(rf"\1{MASK}", text)
    return text


def _of_setting(text: str) -> str:
    if "//" in text or "\\/\\/" in text:
        text = _USER.sub(f"{MASK}@", text)
    if "=" in text:
        text = _QUERY.sub(
            lambda pair: f"{pair[1]}={MASK}" if names_secret(unquote(pair[1]), _IN_URLS) else pair[0], text
        )
    text = _HEADER.sub(rf"\1{MASK}", text)
    return _ISSUED.sub(MASK, _BEARER.sub(rf"\1{MASK}", text))


def names_secret(key: str, words: set[str] = _SECRET_WORDS) -> bool:
    """Tell whether what goes by a key is a secret; the name of an environment variable, `api_key_env`, is none."""
    parts = re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower())
    return parts[-1] != "env" and not words.isdisjoint(parts)


def _masked_argument(key: str, equals: str, value: str) -> str:
    if key.lstrip("+~").startswith(_LABEL_TEXTS):
        return f"{key}{equals}{value}"
    if equals and value and names_secret(key):
        return f"{key}={MASK}"
    if value.lstrip("'\"").startswith(("{", "[")):
        value = _PAIR.sub(lambda pair: f"{pair[1]}{pair[2]}{MASK}" if names_secret(pair[1]) else pair[0], value)
    return without_credentials(f"{key}{equals}{value}")
