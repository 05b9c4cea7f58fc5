"""The store of a run that several processes compute: the first one decides what has to be made, and all make it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lrsl.nn import processes
from lrsl.run.scratch import temporaries_in
from lrsl.run.store import Store

TOGETHER = ("classifier", "logits", "embedding")
"""Stages that all processes make; any other the first one makes alone, while they wait."""


class SharedStore(Store):
    """A store that all processes of a run see, and into which only the first one writes.

    `make` of a stage that is made together is called by all of them, with the same folder; files in it are to be
    written by the first one only. What `make` of another stage does is done as if there were one process.
    """

    def get(self, stage: str, made_of: Mapping[str, Any], make: Callable[[Path], None], *, about: str = "") -> Path:
        """Return the folder of a stage's result, as `Store.get` does; called by all processes."""
        group = processes.together()
        if group is None:
            return super().get(stage, made_of, make, about=about)
        if group.rank:
            told = group.hear()
            while "make" in told:
                folder = Path(told["make"])
                with temporaries_in(folder.parent):
                    make(folder)
                group.meet()
                told = group.hear()
            return Path(told["made"])

        def make_together(folder: Path) -> None:
            if stage in TOGETHER:
                group.tell({"make": str(folder.absolute())})
                make(folder)
                group.meet()  # the folder is about to be renamed
            else:
                with processes.alone():
                    make(folder)

        place = super().get(stage, made_of, make_together, about=about)
        group.tell({"made": str(place.absolute())})
        return place
