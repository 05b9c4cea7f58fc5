"""What configurations are called in figures and in the report."""

from __future__ import annotations

from experiments.runs.configurations import Configuration


def heading(configuration: Configuration) -> str:
    """Return the data set, the classifier and whatever else tells a configuration from the others."""
    parts = (configuration.dataset, configuration.model, *told_apart(configuration))
    return ", ".join(parts)


def told_apart(configuration: Configuration) -> list[str]:
    """Return what tells a configuration from the others of its data set and classifier; nothing where it is alone."""
    variant = "" if configuration.variant == "full" else configuration.variant.replace("_", " ")
    return [part for part in (variant, configuration.label) if part]
