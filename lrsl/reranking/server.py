"""Asking a server: JSON is sent, and what it answers comes back."""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

BACKOFF = 1.0
"""Seconds before a request is sent again; twice as many before each further time."""
_TRANSIENT = {408, 409, 425, 429, 500, 502, 503, 504}


class RefusedError(RuntimeError):
    """A server does not take a request, and would not later."""


def check_settings(api_key_env: str, timeout: float, **at_least: tuple[int, int]) -> None:
    """Check how a server is to be asked.

    Args:
        api_key_env: the environment variable that holds the key.
        timeout: seconds until a request is given up.
        at_least: further settings, each with the least that it may be.

    Raises:
        ValueError: one of them is out of range.
    """
    if not api_key_env.endswith("_API_KEY"):  # a loaded reranker could name any other secret
        raise ValueError(f"api_key_env is {api_key_env}; it must be a name that ends in _API_KEY")
    for name, (value, least) in at_least.items():
        if value < least:
            raise ValueError(f"{name} is {value}; it must be at least {least}")
    if not timeout > 0:
        raise ValueError(f"timeout is {timeout}; it must be above 0")


def asked(
    url: str, body: Mapping[str, Any], *, api_key_env: str, timeout: float, retries: int, refused: str = "the request"
) -> Any:
    """Send JSON, again where that fails for a passing reason, and return the JSON that is answered.

    No redirection is followed, which could take the key to another server.

    Args:
        url: where to.
        body: what is sent.
        api_key_env: the environment variable that holds the key; it is read at each request and kept nowhere, and
            without it the request has no key.
        timeout: seconds until a request is given up.
        retries: how often a request that fails for a passing reason is sent again.
        refused: what the server refuses where it does, for the message.

    Raises:
        RefusedError: the server does not take it.
        RuntimeError: there is no answer, or it is no JSON; or the variable holds no key.
    """
    headers, content = _headers(api_key_env), json.dumps(body, allow_nan=False).encode()
    for attempt in range(retries + 1):
        try:
            request = urllib.request.Request(url, content, headers)
            with _OPENER.open(request, timeout=timeout) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            reason = f"{error.code} {_message(error)}".strip()
            if error.code not in _TRANSIENT:
                key = f"; the key is read from {api_key_env}" if error.code in {401, 403} else ""
                raise RefusedError(f"{url} refuses {refused}: {reason}{key}") from None
        except (OSError, ValueError, http.client.HTTPException) as error:  # no connection, too slow, or no JSON
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        if attempt < retries:
            time.sleep(BACKOFF * 2**attempt)
    raise RuntimeError(f"{url} did not answer in {retries + 1} attempts: {reason}")


def _headers(api_key_env: str) -> dict[str, str]:
    key = os.environ.get(api_key_env, "").strip()
    if not (key.isascii() and key.isprintable()):  # what rejects such a header would show it
        raise RuntimeError(f"{api_key_env} holds no key: it has characters that no key has")
    return {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Return nothing, so that the redirection is an error."""


_OPENER = urllib.request.build_opener(_NoRedirect)


def _message(error: urllib.error.HTTPError) -> str:
    """Return the beginning of what a server says of an error, and close the connection."""
    with error:
        try:
            content = error.read(10_000).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException):
            return ""
    try:
        said = json.loads(content)["error"]
        content = str(said["message"] if isinstance(said, dict) else said)
    except (ValueError, KeyError, TypeError):
        pass
    return " ".join(content.split())[:200]
