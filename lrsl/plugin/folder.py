"""What a folder of a saved reranker holds, looked at before anything is made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from lrsl.errors import InputError, said

_KINDS: Mapping[str, tuple[type, ...]] = {
    "k": (int,),
    "sigma2_mis": (int, float),
    "label_texts": (list,),
    "rule": (dict,),
    "report": (dict,),
}
_MAY_BE: Mapping[str, tuple[type, ...]] = {"deploy": (str,), "on_hard": (dict,), "cost": (dict,), "names": (list,)}
_PARTS = ("detector", "threshold", "views", "fusion")


def checked(saved: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """Return what `reranker.json` says, every part of it of its kind.

    Raises:
        KeyError: a part is missing.
        ValueError: one is of another kind.
    """
    on_hard = saved.get("on_hard", {})
    wrong = [key for key, kinds in _KINDS.items() if not _is(saved[key], kinds)]
    wrong += [key for key, kinds in _MAY_BE.items() if key in saved and not _is(saved[key], kinds)]
    if not wrong:
        wrong += [f"rule.{part}" for part in _PARTS if not _is(saved["rule"][part], (dict, list))]
        wrong += [] if all(isinstance(text, str) for text in saved["label_texts"]) else ["label_texts"]
        wrong += [] if isinstance(saved["rule"]["views"], list) else ["rule.views"]
        wrong += [] if isinstance(on_hard.get("action", ""), str) else ["on_hard.action"]
        wrong += [] if _is(on_hard.get("coverage", 0.9), (int, float)) else ["on_hard.coverage"]
    if wrong:
        raise ValueError(f"{path} is damaged: {wrong[0]} is of the wrong kind; fit and save the reranker anew")
    return saved


@contextmanager
def sound(folder: Path) -> Iterator[None]:
    """Say in a sentence that what was learnt does not fit what is said of it.

    Raises:
        ValueError: it does not.
    """
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError, OSError, OverflowError, SafetensorError) as error:
        raise ValueError(f"{folder} is damaged ({_reason(error)}); fit and save the reranker anew") from None
    except (ValueError, RuntimeError) as error:
        if isinstance(error, InputError) or "\n" not in str(error):
            raise
        raise ValueError(f"{folder} is damaged ({_reason(error)}); fit and save the reranker anew") from None


def _is(value: Any, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def _reason(error: Exception) -> str:
    what = f"{error.args[0]} is missing" if isinstance(error, KeyError) and error.args else str(error)
    return said(" ".join(what.split()))[:160] or type(error).__name__
