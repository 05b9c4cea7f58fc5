"""Detectors, threshold rules, views and fusions as they are typed: `Margin`, or `{TopKVariance: {k: 5}}`."""

from __future__ import annotations

from typing import Any, TypeVar

import yaml

from lrsl.errors import InputError, nearest
from lrsl.reranking import PUBLIC
from lrsl.reranking.component import Component
from lrsl.reranking.saving import made_again
from lrsl.reranking.view.second_classifier import SecondClassifier

Kind = TypeVar("Kind", bound=Component)


def component(flag: str, text: str, seam: type[Kind]) -> Kind:
    """Return the component that is typed after a flag.

    Raises:
        InputError: it is no YAML, unknown, of another seam, or does not take the settings.
    """
    return _made(flag, _parsed(flag, text), seam)


def components(flag: str, text: str, seam: type[Kind]) -> list[Kind]:
    """Return the components that are typed after a flag, in a list, or one alone.

    Raises:
        InputError: as for `component`.
    """
    parsed = _parsed(flag, text)
    if parsed == []:
        raise InputError(f"{flag} [] names none; leave it out for those of the rule, or name one")
    return [_made(flag, one, seam) for one in (parsed if isinstance(parsed, list) else [parsed])]


def _parsed(flag: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{flag} {text} is no YAML: {' '.join(str(error).split())}") from None


def _made(flag: str, given: Any, seam: type[Kind]) -> Kind:
    name, settings = next(iter(given.items())) if isinstance(given, dict) and len(given) == 1 else (given, {})
    kind = seam.__name__.lower().removesuffix("rule")
    known = [public for public, module in PUBLIC.items() if module.startswith(f"lrsl.reranking.{kind}.")]
    if name not in known:
        raise InputError(f"{flag} {name} is unknown; use one of {', '.join(known)}{nearest(str(name), known)}")
    if name == SecondClassifier.__name__:
        raise InputError(
            f"{flag} {name} asks another classifier, which no command can be given; it is for runs, in reranker.rules"
        )
    if settings is not None and not isinstance(settings, dict):
        raise InputError(f"{flag} {name}: {settings} are no settings; write them as in {{TopKVariance: {{k: 5}}}}")
    try:
        return made_again({"kind": f"lrsl.{name}", "settings": settings or {}}, seam, saved=False)
    except ValueError as error:
        raise InputError(f"{flag} {name}: {error}") from None
