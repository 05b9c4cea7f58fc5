"""Where the store keeps what a training has reached that is not through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrsl.nn import processes
from lrsl.nn.kept import Kept
from lrsl.run.stages.context import RunContext
from lrsl.run.store import TRAINING


def unfinished(context: RunContext, stage: str, made_of: Mapping[str, Any], what: str = "") -> Kept:
    """Return what is kept of a training beside the place of its result, `KEY.training` beside `KEY`.

    So it is found by whoever trains the same, and by nobody else: the key stands for all that could change it.

    Args:
        context: the run.
        stage: the kind of result.
        made_of: all that could change it, as plain data.
        what: what is trained, if not what the stage is called.
    """
    place = context.store.place(stage, made_of)
    minutes = context.config.trainer.checkpoint_minutes
    return Kept(place.with_name(f"{place.name}{TRAINING}"), what or stage, minutes=minutes)


def through(context: RunContext, kept: Kept) -> None:
    """Remove what was kept of a training whose result is in the store, and note the time it had taken before."""
    context.earlier.append(kept.earlier)
    if processes.leads():
        kept.discard()
