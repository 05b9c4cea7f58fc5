"""How Hydra's composition meets the schema: what it is checked against, where a run's folder is, what an error means.

Importing this registers the schema under the name `schema` and the resolver `lrsl.folder` of `conf/config.yaml`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from difflib import get_close_matches
from pathlib import Path
from string import Template
from typing import Any, Union, get_args, get_origin, get_type_hints

import yaml
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException, ValidationError

from lrsl.config.schema import Config
from lrsl.errors import InputError, nearest

CONF = Path(__file__).resolve().parents[2] / "conf"
"""The folder of the configuration."""

GROUPS = ("dataset", "model", "embedding", "reranker", "trainer", "logger", "launcher", "experiment")
NO_EFFECT = ("logger", "rerun", "cache", "cache_dir", "trainer.progress")
"""Keys that cannot change a result, so that runs which differ in nothing else are the same run."""

_TYPES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def to_config(composed: DictConfig) -> Config:
    """Return a composed configuration as dataclasses, every value checked.

    Raises:
        InputError: a key is none of the schema's, has no value, or has one that is not allowed.
    """
    _check_keys(composed, Config)
    for key in sorted(OmegaConf.missing_keys(composed)):
        raise InputError(f"{key}=??? stands for no value; give one")  # else the schema's default would step in unseen
    try:
        config = OmegaConf.to_object(composed)
    except OmegaConfBaseException as error:
        raise InputError(explain(error)) from None
    assert isinstance(config, Config)
    return config


def plain(composed: DictConfig) -> dict[str, Any]:
    """Return a composed configuration without Hydra's own part as JSON has it, interpolations resolved."""
    job = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    resolved: dict[str, Any] = json.loads(json.dumps(OmegaConf.to_container(job, resolve=True)))
    return resolved


def same_run(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tell whether two plain configurations have the same results."""
    return _without(one, NO_EFFECT) == _without(other, NO_EFFECT)


def digest(configuration: dict[str, Any]) -> str:
    """Return eight hexadecimal digits that stand for all of a plain configuration that matters, the seed aside."""
    text = json.dumps(_without(configuration, (*NO_EFFECT, "seed")), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def folder(composed: DictConfig) -> str:
    """Return where a run's results go, below `outputs/` or `multirun_outputs/`: the same for the same configuration."""
    configuration = plain(composed)
    names = (file_name(str(configuration[group]["name"])) for group in ("dataset", "model"))
    return "/".join([*names, digest(configuration), f"seed{configuration['seed']}"])


def file_name(text: str) -> str:
    """Return text as a name for a file, on any file system."""
    return re.sub(r"[^\w.=+-]+", "_", text).strip("._")[:80] or "_"


def help_text(conf: Path) -> str:
    """Return what `--help` prints without overrides; Hydra would copy the whole configuration for each group it lists.

    Args:
        conf: the folder of the configuration.
    """
    template = yaml.safe_load((conf / "config.yaml").read_text(encoding="utf-8"))["hydra"]["help"]["template"]
    choices: dict[str, list[str]] = {}
    for path in conf.glob("*/**/*.yaml"):
        choices.setdefault(path.parent.relative_to(conf).as_posix(), []).append(path.stem)
    groups = "".join(f"{group}: {', '.join(sorted(choices[group]))}\n" for group in sorted(choices))
    return Template(template).substitute(APP_CONFIG_GROUPS=groups)


def explain(error: Exception) -> str:
    """Return the one sentence that says what is wrong with what the user typed, and what would be right."""
    origins = [origin for origin in (error.__cause__, error.__context__) if isinstance(origin, OmegaConfBaseException)]
    cause = origins[0] if origins else error
    message = str(error)
    # Hydra keeps the argument in its message only
    found = re.search(
        r"(?:merging override|for argument|Sweep parameters|append to your config use) [+']*([^'\n]+)", message
    )
    argument = found[1] if found else ""
    if isinstance(error, MissingConfigException):
        sentence = _explain_choice(error)
    elif isinstance(error, OverrideParseException):
        sentence = (
            f"{error.override} cannot be read; write key=value, and quote a value that holds any of , = ( ) [ ] {{ }}, "
            "as in \"key='a,b'\""
        )
    elif "Ambiguous value" in message or "requires --multirun" in message:
        sentence = f"{argument} asks for several runs; add -m to run them all"
    elif isinstance(cause, ValidationError):
        sentence = _explain_type(cause, argument, _where(message))
    elif no_group := re.match(r"Could not override '(.*)'\.\n?.*default", message, re.DOTALL):
        sentence = _unknown_key(no_group[1] or "=")
    elif isinstance(cause, OmegaConfBaseException) and "does not support deletion" in str(cause):
        sentence = f"{cause.full_key} cannot be taken out; set it to another value, as in {cause.full_key}=…"
    elif isinstance(cause, OmegaConfBaseException) and re.search(r"^Key '.*' (is )?not in ", str(cause)):
        sentence = _unknown_key(str(cause.full_key), _where(message))
    else:
        parts = [message] if cause is error else [message, str(cause)]
        sentence = " ".join(re.sub(r"\s*\n\s*", ", ", part.strip()) for part in parts)
    return sentence


def known_keys(schema: type = Config, prefix: str = "") -> list[str]:
    """Return every key of the schema, in full, as in `model.epochs`."""
    keys = []
    for name, hint in get_type_hints(schema).items():
        keys += known_keys(hint, f"{prefix}{name}.") if _is_schema(hint) else [f"{prefix}{name}"]
    return keys


def _without(configuration: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(json.dumps(configuration))
    for key in keys:
        *parents, last = key.split(".")
        node = kept
        for parent in parents:
            node = node.get(parent, {})
        node.pop(last, None)
    return kept


def _check_keys(node: DictConfig, schema: type, prefix: str = "") -> None:
    hints = get_type_hints(schema)
    for key in map(str, node):
        if key not in hints:
            raise InputError(_unknown_key(prefix + key))
        if _is_schema(hints[key]):
            _check_keys(node[key], hints[key], f"{prefix}{key}.")


def _where(message: str) -> str:
    """Return the file under conf/ that Hydra's message names, if it names one."""
    found = re.match(r"In '([^']+)'", message)
    return f" (in conf/{found[1]}.yaml)" if found else ""


def _unknown_key(key: str, where: str = "") -> str:
    group, _, last = key.rpartition(".")
    keys = known_keys()
    siblings = [known.removeprefix(f"{group}.") for known in keys if group and known.startswith(f"{group}.")]
    namesakes = [known for known in keys if known.endswith(f".{last}")]
    if siblings:
        found = get_close_matches(last, siblings, n=1)
        hint = f"; did you mean {group}.{found[0]}?" if found else f"; {group} has {', '.join(siblings)}"
    elif namesakes:
        hint = f"; did you mean {' or '.join(namesakes)}?"
    else:
        found = get_close_matches(key, [*keys, *GROUPS], n=1)
        hint = f"; did you mean {found[0]}?" if found else "; python run.py --cfg job shows them all"
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
    hint: Any = Config
    for part in key.split("."):
        hint = get_type_hints(hint).get(part) if _is_schema(hint) else None
    kinds = [kind for kind in get_args(hint) if kind is not type(None)] if _is_union(hint) else [hint]
    names = [_TYPES.get(kind) or ("a list" if get_origin(kind) is list else "") for kind in kinds]
    if not all(names):
        return f"{given}: {' '.join(str(error.msg).split())}"
    return f"{given}; {key} takes {' or '.join(names)}{' or null' if len(get_args(hint)) > len(kinds) else ''}"


def _is_schema(hint: Any) -> bool:
    return isinstance(hint, type) and dataclasses.is_dataclass(hint)


def _is_union(hint: Any) -> bool:
    return get_origin(hint) is Union or type(hint).__name__ == "UnionType"


ConfigStore.instance().store(name="schema", node=Config, provider="lrsl")
OmegaConf.register_new_resolver("lrsl.folder", lambda *, _root_: folder(_root_), replace=True)

COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, yaml.YAMLError)
"""What Hydra raises over what a user typed, before any code of ours runs."""
