"""A warning of texts that are longer than what is read of them, once for each call."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ParamSpec, TypeVar

from lrsl.nn.batches import Text, noting_what_is_cut
from lrsl.reranking.positional import texts_of

P = ParamSpec("P")
Result = TypeVar("Result")


def warns_what_is_cut(method: Callable[P, Result]) -> Callable[P, Result]:
    """Have a method of `Reranker` that is given texts warn of those it has read, but not to their end."""
    signature = inspect.signature(method)

    @functools.wraps(method)
    def warning(*arguments: P.args, **keys: P.kwargs) -> Result:
        with noting_what_is_cut() as noted:
            result = method(*arguments, **keys)
        if noted:
            given = signature.bind(*arguments, **keys).arguments
            warnings.warn(_sentence(noted, given), stacklevel=2)
        return result

    return warning


def _sentence(noted: Mapping[Text, int], given: Mapping[str, Any]) -> str:
    first = {parts[0] for parts in noted}
    texts = sum(text in first or text.strip() in first for text in _texts(given))
    labels = sum((text,) in noted or (text.strip(),) in noted for text in given["self"].label_texts)
    counts = [f"{n:,} {what}" for n, what in ((texts, "of the texts"), (labels, "of the label texts")) if n]
    counts = counts or [f"{len(noted):,} of the texts"]  # where an iterator has been used up
    limits = " or ".join(f"{limit:,}" for limit in sorted(set(noted.values())))
    return (
        f"{' and '.join(counts)} are longer than the {limits} tokens that are read of them, and the rest "
        "is cut off; where the model allows for more, raise max_seq_length of the embedder"
    )


def _texts(given: Mapping[str, Any]) -> Iterator[str]:
    yield from texts_of(given["texts"])  # an array of Arrow has scalars of its own
    if given.get("train") is not None:
        yield from texts_of(given["train"][0])
