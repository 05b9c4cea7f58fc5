"""What every stage of a run needs to know."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pytorch_lightning.loggers import Logger

from lrsl.config.schema import Config
from lrsl.data.corpus import Corpus, Split
from lrsl.run.store import Store
from lrsl.tracking import Tracker


@dataclass
class RunContext:
    """What every stage needs to know: the run, its data, where things are left and logged, what is there already.

    Attributes:
        earlier: seconds that trainings had taken in processes that were killed, before this one took them up.
    """

    config: Config
    corpus: Corpus
    folder: Path
    tracker: Tracker
    store: Store
    logged: bool = True
    earlier: list[float] = field(default_factory=list)

    @property
    def logger(self) -> Logger | None:
        """What trainers log to; None where nobody looks at how a training goes."""
        return self.tracker.logger if self.logged else None

    @property
    def predicted(self) -> list[str]:
        """Names of the splits that are predicted."""
        return ["val", "test"] if self.corpus.unlabelled is None else ["val", "test", "unlabelled"]

    def split(self, name: str) -> Split:
        """Return a split by its name: train, val, test or unlabelled."""
        split = getattr(self.corpus, name)
        assert isinstance(split, Split)
        return split
