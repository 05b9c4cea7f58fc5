"""What Python's and Hydra's loggers say, fit to be shown: without credentials, and with no command to a terminal."""

from __future__ import annotations

import logging
from typing import Any

from lrsl.masking import masked_command, without_credentials
from lrsl.text import visible


def mask() -> None:
    """Have every logger of this process say what it says without secrets; more than once is as good as once."""
    if getattr(logging.getLogRecordFactory(), "masks", False):
        return
    make = logging.getLogRecordFactory()

    def made(*args: Any, **keys: Any) -> logging.LogRecord:
        record = make(*args, **keys)
        try:
            text = record.getMessage()
        except Exception:  # what formats it will say so
            return record
        if record.name.lower().startswith("hydra"):  # which names a job by its overrides
            text = " ".join(masked_command(text.split(" ")))
        record.msg, record.args = visible(without_credentials(text)), ()
        return record

    made.masks = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(made)
