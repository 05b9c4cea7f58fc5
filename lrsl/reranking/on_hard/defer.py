"""Hard rows handed on: to a function, or to a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

import torch
from torch import Tensor

from lrsl.reranking import server
from lrsl.reranking.on_hard import NO_LABEL

Defer = Callable[[str, Sequence[str], Sequence[float]], "str | None"]
"""Answers for one hard row: given are its text, the likeliest labels, best first, and their scores.

It returns any of all the labels, or None for no answer. With an attribute `parallel` it is called from as many threads.
"""


@dataclass(frozen=True)
class Endpoint:
    """A server that answers for hard rows.

    It is sent `{"text": …, "candidates": […], "scores": […]}` and answers `{"label": …}`, null for no answer. The hard
    texts leave this machine.

    Args:
        url: where it is; without user, password or query, which would be written down with it.
        api_key_env: the environment variable that holds the key, whose name ends in `_API_KEY`. It is read at each
            request and kept nowhere; without it requests have no key.
        timeout: seconds until a request is given up.
        retries: how often a request that fails for a passing reason is sent again.
        parallel: requests at a time.

    Raises:
        ValueError: a setting is out of range.
    """

    url: str
    api_key_env: str = "DEFER_API_KEY"
    timeout: float = 60.0
    retries: int = 4
    parallel: int = 4

    def __post_init__(self) -> None:
        """Check the settings."""
        parts = urlsplit(self.url)
        if parts.username is not None or parts.query or parts.fragment:  # not shown: it may be a key
            raise ValueError(f"the url of {parts.hostname} has more than a path; a key is read from api_key_env")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url is {self.url}; it must begin with https:// or http://")
        server.check_settings(self.api_key_env, self.timeout, retries=(self.retries, 0), parallel=(self.parallel, 1))

    def __call__(self, text: str, candidates: Sequence[str], scores: Sequence[float]) -> str | None:
        """Return the label that the server answers, or None.

        Raises:
            RuntimeError: the server refuses, does not answer, or answers something else.
        """
        body = {"text": text, "candidates": list(candidates), "scores": list(scores)}
        answer = server.asked(
            self.url, body, api_key_env=self.api_key_env, timeout=self.timeout, retries=self.retries, refused="a text"
        )
        label = answer.get("label", 0) if isinstance(answer, dict) else 0
        if label is not None and not isinstance(label, str):
            raise RuntimeError(f'{self.url} did not answer {{"label": …}} with a label or null; check the url')
        return label


def deferred(
    defer: Defer, labels: Tensor, hard: Tensor, scores: Tensor, *, texts: Sequence[str], names: Sequence[str], k: int
) -> Tensor:
    """Return labels `(n,)` in which those of hard rows are what is answered elsewhere; -1 for no answer.

    Args:
        defer: is asked about each hard row, and about no other.
        labels: the labels without it, `(n,)`.
        hard: which rows are hard, `(n,)` bool.
        scores: what the labels are ranked by, `(n, classes)`.
        texts: the text of each row.
        names: what each class is called.
        k: number of candidates.

    Raises:
        ValueError: what is answered is no label, or the shapes do not fit.
    """
    if not len(labels) == len(hard) == len(scores) == len(texts):
        raise ValueError(f"there are {len(texts)} texts and {len(scores)} scores for {len(labels)} labels")
    asked = hard.nonzero().flatten().tolist()
    best = scores[hard].topk(min(k, scores.shape[1]), dim=-1)

    def answer(place: int) -> int:
        candidates = [names[label] for label in best.indices[place].tolist()]
        given = defer(texts[asked[place]], candidates, best.values[place].tolist())
        if given is None:
            return NO_LABEL
        if given not in numbers:
            raise ValueError(
                f"the answer to a deferred text is {str(given)[:80]!r}; it must be the name of a label, such as "
                f"{names[0]!r}, or None"
            )
        return numbers[given]

    numbers = {name: number for number, name in enumerate(names)}
    places = range(len(asked))
    parallel = int(getattr(defer, "parallel", 1))
    if parallel > 1:
        with ThreadPoolExecutor(parallel) as pool:
            answers = list(pool.map(answer, places))
    else:
        answers = [answer(place) for place in places]
    made = labels.clone()
    made[hard] = torch.tensor(answers, dtype=labels.dtype, device=labels.device)
    return made
