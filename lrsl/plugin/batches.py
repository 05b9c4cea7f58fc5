"""A saved reranker as a function of batches of rows, for those who have rows in `datasets`, Ray Data or Spark."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lrsl import fingerprint
from lrsl.errors import InputError, some
from lrsl.plugin import hub, saving
from lrsl.plugin.answers import Answer
from lrsl.plugin.reranker import Reranker
from lrsl.reranking.on_hard.defer import Defer

_COMMIT = re.compile("[0-9a-f]{40}")


class RerankedBatches:
    """Gives batches of rows their answers, in whatever processes the batches are.

    It goes to other processes as the name of a folder and a hash of what is in it. Each loads the reranker once, when
    its first batch comes, and refuses a folder whose content is another, such as one fitted anew. The hash is also what
    the caches of `datasets` know it by.

    Args:
        reranker: a folder that `save_pretrained` or `lrsl fit` has written, which every process can read; or
            `OWNER/NAME` on the hub, of which all processes take the commit that it has now.
        logits: the column of the classifier's logits, a list or an array per row.
        text: the column of the texts.
        k: how many candidates; the reranker's k unless given.
        revision: branch, tag or commit on the hub. A token is read from where `hf auth login` or `HF_TOKEN` has it.
        defer: as for `Reranker.from_pretrained`.
        allow_server: as for `Reranker.from_pretrained`.

    Raises:
        ValueError: there is no reranker, or revision is given with a folder.
        InputError: it is not on the hub, or the hub cannot be reached.

    Example:
        >>> rows = rows.map(RerankedBatches("my-reranker"), batched=True, num_proc=4)
        >>> rows[0]["answer"], rows[0]["hard"]
        ('card arrival', True)
    """

    def __init__(
        self,
        reranker: str | Path,
        *,
        logits: str = "logits",
        text: str = "text",
        k: int | None = None,
        revision: str | None = None,
        defer: Defer | None = None,
        allow_server: bool = False,
    ) -> None:
        folder = hub.located(reranker, revision)
        saving.check_holds_one(folder)
        on_hub = isinstance(reranker, str) and not Path(reranker).is_dir()
        self.reranker = str(reranker) if on_hub else str(folder.resolve())
        self.revision = folder.name if on_hub and _COMMIT.fullmatch(folder.name) else revision
        self.digest = fingerprint.of_folder(folder)
        self.logits, self.text, self.k = logits, text, k
        self.defer, self.allow_server = defer, allow_server
        self._loaded: Reranker | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what other processes, and hashes, are given: everything but what was loaded."""
        return {**vars(self), "_loaded": None}

    def __call__(self, batch: Any) -> Any:
        """Return the new columns of a batch that is a mapping of columns, or a frame of pandas with these.

        They are `answer`, a name or None for none; `hard`; `candidates`, each with `label`, `before` and `after`, the
        best after reranking first; and with `on_hard="set"` `labels`, those of the set.

        Raises:
            ValueError: as for `Reranker.answers`.
            InputError: a column is missing, or the folder has another content than it had.
        """
        for column in (self.logits, self.text):
            if column not in batch:
                raise InputError(f"there is no column {column!r} in {some([str(name) for name in batch])}; name it")
        if self._loaded is None:
            self._loaded = _loaded(self.reranker, self.revision, self.digest, self.defer, self.allow_server)
        answers = self._loaded.answers(batch[self.logits], batch[self.text], self.k)
        made = _columns(answers, sets=self._loaded.on_hard == "set")
        return batch.assign(**made) if hasattr(batch, "assign") else made

    def frames(self, frames: Iterable[Any]) -> Iterator[Any]:
        """Yield frames of pandas with the new columns, one after the other, as `mapInPandas` of Spark asks for."""
        return map(self, frames)


def _columns(answers: list[Answer], *, sets: bool) -> dict[str, list[Any]]:
    candidates = [
        [{"label": one.name, "before": one.before, "after": one.after} for one in answer.candidates]
        for answer in answers
    ]
    return {
        "answer": [answer.name for answer in answers],
        "hard": [answer.hard for answer in answers],
        **({"labels": [answer.names for answer in answers]} if sets else {}),
        "candidates": candidates,
    }


@functools.lru_cache(maxsize=1)
def _loaded(name: str, revision: str | None, digest: str, defer: Defer | None, allow_server: bool) -> Reranker:
    """Load a reranker, once in each process."""
    if fingerprint.of_folder(hub.located(name, revision)) != digest:
        raise InputError(
            f"{name} holds another reranker than when this began: it was fitted anew, or this machine has a copy of "
            "its own; begin anew"
        )
    return Reranker.from_pretrained(name, revision=revision, defer=defer, allow_server=allow_server)
