"""The rules of a run: the paper's, the fitted one beside it, and those that the user names."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, TypeVar, cast

from lrsl.config.schema import Config, RuleConfig
from lrsl.errors import InputError
from lrsl.reranking import PUBLIC
from lrsl.reranking.component import Component
from lrsl.reranking.detector import Detector
from lrsl.reranking.fusion import Fusion
from lrsl.reranking.rule import Rule
from lrsl.reranking.threshold import ThresholdRule
from lrsl.reranking.threshold.best_gain import fitted_threshold
from lrsl.reranking.view import View
from lrsl.reranking.view.second_classifier import SecondClassifier

Seam = TypeVar("Seam", bound=Component)

CONTROL = "control"
FITTED = "fitted"
TAKEN = (
    *("origin", "rerank", "similarity", FITTED, CONTROL, "deployed", "id", "text", "gold", "hard", "hardness"),
    *(
        "answer",
        "beside",
        "hard_fraction",
        "gold_rank_before",
        "gold_rank_after",
        "rerank_if_hard",
        "top_k_before",
        "top_k_after",
    ),
)
"""Names that results.json and predictions.jsonl give to something else."""


@dataclass(frozen=True)
class ConfiguredView:
    """A view and what it was configured with.

    Attributes:
        view: the view, not fitted.
        settings: `_target_` and the arguments, which stand for it in the keys of the store.
    """

    view: View
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What results call it, such as `label_similarity`."""
        return type(self.view).__module__.rpartition(".")[2]


@dataclass(frozen=True)
class NamedRule:
    """A rule with the views it joins.

    Attributes:
        name: what results call it.
        rule: detector, threshold rule and fusion.
        views: what scores the labels.
    """

    name: str
    rule: Rule
    views: tuple[ConfiguredView, ...]


def papers_rule(config: Config) -> NamedRule:
    """Return the rule of `reranker.detector`, `threshold`, `view` and `fusion`, which is the paper's unless changed.

    Raises:
        InputError: a part of it cannot be made.
    """
    reranker = config.reranker
    rule = Rule(
        component(Detector, "detector", reranker.detector),
        component(ThresholdRule, "threshold", reranker.threshold),
        component(Fusion, "fusion", reranker.fusion),
    )
    return NamedRule("rerank", rule, (ConfiguredView(component(View, "view", reranker.view), reranker.view),))


def rules_beside(config: Config) -> list[NamedRule]:
    """Return the fitted rule, the control and the rules the user names, as far as they are asked for.

    The control has the detector and the fusion of the fitted rule, and in place of its views the same classifier,
    trained with the next seed. `Judge.beside` judges it on the fitted rule's hard rows.

    Raises:
        InputError: one of them cannot be made, or its name is missing or taken.
    """
    reranker = config.reranker
    made = []
    if reranker.fitted.views:
        made.append(_rule(FITTED, "fitted", reranker.fitted, config))
    if reranker.control:
        second = dataclasses.replace(reranker.fitted, views=["second_classifier"])
        made.append(_rule(CONTROL, "fitted", second, config))
    for number, given in enumerate(reranker.rules):
        rule = rule_of(f"rules.{number}", given, config)
        if rule.name in (*TAKEN, *(other.name for other in made)):
            raise InputError(f"reranker.rules.{number} is called {rule.name}, which is taken; give it another name")
        made.append(rule)
    return made


def rule_of(key: str, given: Any, config: Config) -> NamedRule:
    """Return the rule that a mapping describes: a name, and what differs from the fitted rule.

    Args:
        key: where it stands below `reranker`, for the message.
        given: the mapping.
        config: has the fitted rule, and k.

    Raises:
        InputError: it cannot be made, or has no name.
    """
    defaults = dataclasses.asdict(config.reranker.fitted)
    if not isinstance(given, Mapping) or not given.get("name"):
        raise InputError(
            f"reranker.{key} is {given!r}; it must have a name and any of {', '.join(defaults)}, "
            "as in {name: mine, detector: entropy, views: [lexical]}"
        )
    settings = dict(given)
    name = str(settings.pop("name"))
    if unknown := sorted(settings.keys() - defaults.keys()):
        raise InputError(f"reranker.{key} has {unknown[0]}; its parts are {', '.join(defaults)}")
    return _rule(name, key, RuleConfig(**{**defaults, **settings}), config)


def needs_second_classifier(rules: Sequence[NamedRule]) -> bool:
    """Tell whether one of the rules asks another classifier."""
    return any(isinstance(configured.view, SecondClassifier) for rule in rules for configured in rule.views)


def _rule(name: str, key: str, settings: RuleConfig, config: Config) -> NamedRule:
    k = config.reranker.k
    if settings.threshold == "auto":
        threshold = fitted_threshold(config.reranker.on_hard)
    else:
        described = _settings(f"{key}.threshold", "threshold", settings.threshold, k)
        threshold = component(ThresholdRule, f"{key}.threshold", described)
    rule = Rule(
        component(Detector, f"{key}.detector", _settings(f"{key}.detector", "detector", settings.detector, k)),
        threshold,
        component(Fusion, f"{key}.fusion", _settings(f"{key}.fusion", "fusion", settings.fusion, k)),
    )
    given_views: Any = settings.views
    if not isinstance(given_views, list) or not given_views:
        raise InputError(f"reranker.{key}.views is {given_views!r}; it must be a list, as in [label_similarity]")
    views = []
    for number, given in enumerate(given_views):
        place = f"{key}.views.{number}"
        described = _settings(place, "view", given, k)
        views.append(ConfiguredView(component(View, place, described), described))
    return NamedRule(name, rule, tuple(views))


def _settings(key: str, seam: str, given: Any, k: int) -> dict[str, Any]:
    """Return `_target_` and arguments for a component that is given by its short name or by just these."""
    if isinstance(given, Mapping):
        return dict(given)
    known = {
        module.rpartition(".")[2]: name
        for name, module in PUBLIC.items()
        if module.startswith(f"lrsl.reranking.{seam}.")
    }
    if given not in known:
        raise InputError(
            f"reranker.{key}={given} is unknown; choose one of {', '.join(sorted(known))}, "
            "or give a mapping with the _target_ of your own"
        )
    name = known[given]
    component_class = getattr(import_module(PUBLIC[name]), name)
    takes_k = dataclasses.is_dataclass(component_class) and any(
        field.name == "k" for field in dataclasses.fields(component_class)
    )
    return {"_target_": f"lrsl.{name}", **({"k": k} if takes_k else {})}


def component(seam: type[Seam], key: str, settings: dict[str, Any]) -> Seam:
    """Return the component that is configured for a seam.

    Args:
        seam: what it has to be, such as `View`.
        key: its key below `reranker`.
        settings: `_target_` and the arguments.

    Raises:
        InputError: its `_target_` is missing or cannot be made with what stands beside it.
    """
    if "_target_" not in settings:
        raise InputError(f"reranker.{key} names no class; choose one with reranker/{key}=NAME, or set its _target_")
    name, made = named_object(key, settings)
    if not isinstance(made, type) or seam not in made.__mro__:
        raise InputError(
            f"reranker.{key}._target_={name} is no lrsl.{seam.__name__}; name a class that has it as its base"
        )
    return cast(Seam, made_with(key, name, made, settings))


def named_object(key: str, settings: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the name that `_target_` has below a key of `reranker`, and what goes by it.

    Raises:
        InputError: it cannot be imported.
    """
    name = str(settings["_target_"])
    _check_name(key, name)
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # the `lrsl` command would not find a module of the user's own
    try:
        return name, resolve_name(name)
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"reranker.{key}._target_={name} cannot be imported: {reason}") from None


def _check_name(key: str, name: str) -> None:
    """Check, before anything is imported, that a name may stand for a part of the reranker.

    Raises:
        InputError: it is no name in a module, or one of Python's own modules, of which none does but some do something
            when they are imported.
    """
    words = re.split("[.:]", name)
    if len(words) < 2 or not all(word.isidentifier() for word in words) or "__main__" in words[:-1]:
        raise InputError(f"reranker.{key}._target_={name} names nothing in a module; give one such as mine.Overlap")
    if words[0] in {*sys.stdlib_module_names, *sys.builtin_module_names}:
        raise InputError(
            f"reranker.{key}._target_={name} is of Python itself, and nothing there fits; name a class or function of "
            "your own, or one of lrsl"
        )


def answers_hard_rows(made: Any) -> bool:
    """Tell whether a function, or what a class makes, is called with a text, its candidates and their scores.

    It is known by the names of what it takes, so that nothing is called with texts that was never meant to be.
    """
    called = made
    if isinstance(made, type):
        called = next((vars(base)["__call__"] for base in made.__mro__ if "__call__" in vars(base)), None)
    try:
        takes = [*inspect.signature(called).parameters.values()]
    except (TypeError, ValueError):
        return False
    if isinstance(made, type):
        takes = takes[1:]
    further = [each for each in takes[3:] if each.default is each.empty and each.kind not in _ANY_NUMBER]
    return [each.name.strip("_") for each in takes[:3]] == ["text", "candidates", "scores"] and not further


_ANY_NUMBER = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def made_with(key: str, name: str, made: type, settings: Mapping[str, Any]) -> Any:
    """Return an object of a class, made with the settings below a key of `reranker`.

    Raises:
        InputError: the class does not take them.
    """
    try:
        return made(**{argument: value for argument, value in settings.items() if argument != "_target_"})
    except Exception as error:
        reason = " ".join(str(error).split())
        unknown = next((one for one in settings if reason.endswith(f"unexpected keyword argument '{one}'")), "")
        hint = f"; ~reranker.{key}.{unknown} takes that out" if unknown and "." not in key else ""
        raise InputError(f"reranker.{key} cannot be made: {name} says {reason}{hint}") from None
