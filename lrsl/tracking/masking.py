"""Plain data without secrets, to be shown to others."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from lrsl.config.schema import Config
from lrsl.masking import masked_configuration


def plain(config: Config) -> dict[str, Any]:
    """Return a configuration as plain data without secrets."""
    return masked_configuration(asdict(config))
