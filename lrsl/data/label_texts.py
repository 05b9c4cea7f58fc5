"""The readable text of each label: its name made readable, unless the user says otherwise."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from lrsl.data.fetch import locate
from lrsl.data.table import check_whole, read_text
from lrsl.errors import InputError, nearest

_KEY = "dataset.label_texts"

Entry = tuple[str, Any, str]
"""A label's name, its text as given, and the place it was given at."""


def readable(name: str) -> str:
    """Return a label's name with underscores turned into spaces, its case kept: `card_arrival` → "card arrival"."""
    return " ".join(name.replace("_", " ").split()) or name


def label_texts(labels: list[str], own: list[str], given: Any, data_dir: str | None) -> list[str]:
    """Return the text of each label, pairwise distinct.

    Args:
        labels: the labels' names.
        own: the text of each label for which nothing is given.
        given: None, a mapping from name to text, or the path of a YAML or JSON file that holds one. Names that YAML
            or JSON takes for numbers or truth values match the label that is written the same way.
        data_dir: folder in which the file is looked for when it is not in the working directory.

    Raises:
        InputError: the file is unreadable, an entry names no label or has no text, or two labels have the same text.
    """
    texts = dict(zip(labels, own, strict=True))
    overridden: dict[str, str] = {}
    for name, text, place in _entries(given, data_dir):
        label = _label_named(name, labels, place)
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{place} gives the label '{name}' no text; it must be a string that is not empty")
        check_whole(text, f"{place} gives the label '{name}' a text that", "")
        if label in overridden:
            raise InputError(f"{place} gives the label '{label}' a second text; the first is {overridden[label]}")
        overridden[label] = place
        texts[label] = text.strip()
    first_with: dict[str, str] = {}
    for label, text in texts.items():
        if text in first_with:
            raise InputError(
                f"the labels '{first_with[text]}' and '{label}' have the same text '{text}'"
                f"{f' ({overridden[label]})' if label in overridden else ''}; tell them apart in {_KEY}"
            )
        first_with[text] = label
    return [texts[label] for label in labels]


def given_in_order(text: str) -> dict[str, str] | None:
    """Return the texts of labels in the YAML of a file, in its order; None unless each label has one text."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return None
    if root is None:
        return {}
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    if not pairs or not all(isinstance(value, yaml.ScalarNode) and value.value.strip() for _, value in pairs):
        return None
    texts = {str(key.value): str(value.value).strip() for key, value in pairs}
    return texts if len(texts) == len(pairs) else None


def _label_named(name: str, labels: list[str], place: str) -> str:
    if name in labels:
        return name
    if name.lower() in ("true", "false"):  # YAML reads true, True and TRUE as one value
        alike = [label for label in labels if label.lower() == name.lower()]
        if len(alike) == 1:
            return alike[0]
    raise InputError(f"{place} gives a text to '{name}', which is no label of the training data{nearest(name, labels)}")


def _entries(given: Any, data_dir: str | None) -> Iterable[Entry]:
    match given:
        case None:
            return []
        case dict():
            return [(str(name), text, _KEY) for name, text in given.items()]
        case str():
            path = locate(_KEY, given, data_dir, {})
            endings = {".yaml": _yaml_entries, ".yml": _yaml_entries, ".json": _json_entries}
            if path.suffix.lower() not in endings:
                raise InputError(f"{_KEY}={path} has an unknown ending; use one of {', '.join(endings)}")
            return endings[path.suffix.lower()](path, read_text(path))
        case _:
            raise InputError(f"{_KEY} is of type {type(given).__name__}; give a mapping from label to text, or a file")


def _yaml_entries(path: Path, text: str) -> Iterable[Entry]:
    if _depth(text) > _DEEPEST:  # which takes the square of the time
        raise InputError(f"{path}:1 is not valid YAML for labels; give lines such as 'label: text'")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)  # nodes know their line, and a label `yes` stays "yes"
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(
            f"{path}:{line} is not valid YAML ({error.problem}); give lines such as 'label: text'"
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError):  # a character that is none; lists deep inside each other
        raise InputError(f"{path}:1 is not valid YAML; give lines such as 'label: text'") from None
    if not isinstance(root, yaml.MappingNode):
        raise InputError(f"{path}:1 holds no mapping; give lines such as 'label: text'")
    for key, value in root.value:
        empty = not isinstance(value, yaml.ScalarNode) or value.tag == "tag:yaml.org,2002:null"
        if not isinstance(key, yaml.ScalarNode):
            raise InputError(f"{path}:{key.start_mark.line + 1} names no label; give lines such as 'label: text'")
        yield str(key.value), None if empty else value.value, f"{path}:{key.start_mark.line + 1}"


def _depth(text: str) -> int:
    """Return how many brackets are open at most, about."""
    open_, most = 0, 0
    for bracket in re.findall(r"[\[\]{}]", text):
        open_ = open_ + 1 if bracket in "[{" else max(0, open_ - 1)
        most = max(most, open_)
    return most


_DEEPEST = 500


def _json_entries(path: Path, text: str) -> Iterable[Entry]:
    try:
        pairs = json.loads(text, object_pairs_hook=list)  # keeps a name that is given twice
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}:{error.lineno} is not valid JSON ({error.msg.lower()}); "
            'give one object such as {"label": "text"}'
        ) from None
    except (ValueError, RecursionError) as error:
        reason = "lists and objects lie too deep inside each other" if isinstance(error, RecursionError) else error
        raise InputError(f'{path} is not valid JSON ({reason}); give one object such as {{"label": "text"}}') from None
    if not text.lstrip().startswith("{"):
        raise InputError(f'{path}:1 holds no mapping; give one object such as {{"label": "text"}}')
    return [(name, value, str(path)) for name, value in pairs]
