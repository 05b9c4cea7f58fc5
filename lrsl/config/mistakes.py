"""What a mistake in a configuration means: the one sentence that says what is wrong, where, and what is right."""

from __future__ import annotations

import re
import shlex
from difflib import get_close_matches
from typing import Any, Union, get_args, get_origin, get_type_hints

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException, ValidationError

from lrsl.config import place
from lrsl.config.keys import GROUPS, RENAMED, SEAMS, is_schema, known_keys
from lrsl.config.quotation import typed_text
from lrsl.config.schema import Config
from lrsl.errors import nearest
from lrsl.masking import masked_command

COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, yaml.YAMLError)
"""What Hydra raises over what a user typed, before any code of ours runs."""


_TYPES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def explain(error: Exception) -> str:
    """Return the one sentence that says what is wrong with what the user typed, and what would be right."""
    origins = [origin for origin in (error.__cause__, error.__context__) if isinstance(origin, OmegaConfBaseException)]
    cause = origins[0] if origins else error
    message = str(error)
    # Hydra keeps the argument in its message only
    named = re.search(
        r"(?:merging override|for argument|Sweep parameters|append to your config use) [+']*([^'\n]+)", message
    )
    argument = named[1] if named else ""
    if isinstance(error, MissingConfigException):
        sentence = _explain_choice(error)
    elif isinstance(error, OverrideParseException):
        sentence = _explain_override(masked_command([str(error.override)])[0])
    elif "Ambiguous value" in message or "requires --multirun" in message:
        sentence = f"{argument} asks for several runs; add -m to run them all"
    elif isinstance(cause, ValidationError):
        sentence = _explain_type(cause, argument, _where(message))
    elif no_group := re.match(r"Could not override '(.*)'\.\n?.*default", message, re.DOTALL):
        sentence = unknown_key(no_group[1] or "=")
    elif isinstance(cause, OmegaConfBaseException) and "does not support deletion" in str(cause):
        sentence = f"{cause.full_key} cannot be taken out; set it to another value, as in {cause.full_key}=…"
    elif isinstance(cause, OmegaConfBaseException) and re.search(r"^Key '.*' (is )?not in ", str(cause)):
        sentence = unknown_key(str(cause.full_key), _where(message))
    else:
        parts = [message] if cause is error else [message, str(cause)]
        sentence = " ".join(re.sub(r"\s*\n\s*", ", ", part.strip()) for part in parts)
    return sentence


def _explain_override(override: str) -> str:
    """Return what is wrong with an override that Hydra cannot read, and how the same text is typed so that it can."""
    key, _, value = override.partition("=")
    start = f"{override} cannot be read; write key=value, and quote a value"
    if re.fullmatch(r"[+~]*[a-zA-Z_][\w./@:-]*", key, re.ASCII) and value.strip() and value.strip()[0] not in "[{'\"":
        typed = typed_text(key, value)
        if _reads(typed, value):
            return f"{start} with characters such as these twice, for Hydra and for the shell: {typed}"
    return f"{start} that holds any of , = ( ) [ ] {{ }} or letters other than a to z, as in \"key='a,b'\""


def _reads(typed: str, value: str) -> bool:
    """Tell whether Hydra reads a text in what a shell makes of what is typed."""
    try:
        return bool(OverridesParser.create().parse_override(shlex.split(typed)[0]).value() == value)
    except (HydraException, ValueError):
        return False


def _where(message: str) -> str:
    """Return the file that Hydra's message names, if it names one."""
    named = re.match(r"In '([^']+)'", message)
    return f" (in {place.file_of(named[1])})" if named else ""


def unknown_key(key: str, where: str = "") -> str:
    """Return the sentence that says that there is no such key, and which may be meant."""
    if key in RENAMED:
        return f"{key} is called {RENAMED[key]} now{where}; set that instead"
    group, _, last = key.rpartition(".")
    keys = known_keys()
    siblings = [known.removeprefix(f"{group}.") for known in keys if group and known.startswith(f"{group}.")]
    namesakes = [known for known in keys if known.endswith(f".{last}")]
    if siblings:
        close = get_close_matches(last, siblings, n=1)
        hint = f"; did you mean {group}.{close[0]}?" if close else f"; {group} has {', '.join(siblings)}"
    elif namesakes:
        hint = f"; did you mean {' or '.join(namesakes)}?"
    else:
        close = get_close_matches(key, [*keys, *GROUPS], n=1)
        hint = f"; did you mean {close[0]}?" if close else f"; {place.typed('run')} --cfg job shows them all"
    return f"{key} is no key of this configuration{where}{hint}"


def _explain_choice(error: MissingConfigException) -> str:
    group, _, choice = str(error.missing_cfg_file).rpartition("/")
    if group == "hydra/launcher" and choice in ("joblib", "ray", "submitit_local", "submitit_slurm"):
        extra = choice.partition("_")[0]
        return f"launcher={choice} needs a package that is not installed; pip install 'lrsl[{extra}]' adds it"
    options = sorted(error.options or [])
    if not group or not options:
        return " ".join(str(error).split())
    return f"{group}={choice} is unknown; use one of {', '.join(options)}{nearest(choice, options)}"


def _explain_type(error: ValidationError, argument: str, where: str) -> str:
    key = str(error.full_key)
    given = f"{argument or key}{where} has a value of the wrong type"
    if key in GROUPS:
        return f"{given}; {key} takes the name of a file in conf/{key}/"
    if (group := key.replace(".", "/")) in SEAMS:
        return f"{given}; {group}=NAME, with a slash, takes the name of a file in conf/{group}/"
    hint: Any = Config
    for part in key.split("."):
        hint = get_type_hints(hint).get(part) if is_schema(hint) else None
    kinds = [kind for kind in get_args(hint) if kind is not type(None)] if _is_union(hint) else [hint]
    names = [_TYPES.get(kind) or ("a list" if get_origin(kind) is list else "") for kind in kinds]
    if not all(names):
        return f"{given}: {' '.join(str(error.msg).split())}"
    return f"{given}; {key} takes {' or '.join(names)}{' or null' if len(get_args(hint)) > len(kinds) else ''}"


def _is_union(hint: Any) -> bool:
    return get_origin(hint) is Union or type(hint).__name__ == "UnionType"
