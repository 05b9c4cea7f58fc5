"""How Hydra's composition meets the schema.

Importing this registers the schema under the name `schema` and the resolvers `lrsl.folder` and `lrsl.embedding` of
`conf/config.yaml`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, get_type_hints

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lrsl.config import place
from lrsl.config.identity import folder
from lrsl.config.keys import is_schema, model_of_any_version
from lrsl.config.mistakes import COMPOSITION_ERRORS, explain, unknown_key
from lrsl.config.schema import Config
from lrsl.errors import InputError

CONF = place.CONF
"""The folder of the configuration."""
EMBEDDINGS = {"zh": "bge_zh"}
"""Which of `conf/embedding` is the default for texts in a language; for any other it is `minilm`."""


def to_config(composed: DictConfig) -> Config:
    """Return a composed configuration as dataclasses, every value checked.

    Raises:
        InputError: a key is none of the schema's, has no value, or has one that is not allowed.
    """
    _check_keys(composed, Config)
    for key in sorted(OmegaConf.missing_keys(composed)):
        raise InputError(f"{key}=??? stands for no value; give one")  # else the schema's default would step in unseen
    _check_texts(OmegaConf.to_container(composed, resolve=False))
    try:
        config = OmegaConf.to_object(composed)
    except OmegaConfBaseException as error:
        raise InputError(explain(error)) from None
    assert isinstance(config, Config)
    return config


def configured(overrides: Sequence[str]) -> Config:
    """Return the configuration of a run that overrides make.

    Raises:
        InputError: they cannot be composed, or as `to_config`.
    """
    with in_a_sentence(), initialize_config_dir(str(CONF), version_base="1.3"):
        return to_config(compose("config", list(overrides)))


@contextmanager
def in_a_sentence() -> Iterator[None]:
    """Have what Hydra says of what was typed said in one sentence.

    Raises:
        InputError: Hydra has raised something.
    """
    try:
        yield
    except COMPOSITION_ERRORS as error:
        raise InputError(explain(error)) from None


def recorded(configuration: Mapping[str, Any]) -> Config:
    """Return the configuration that a run has noted as plain data, of this version or an earlier one.

    Raises:
        InputError: it is none.
    """
    try:
        model = model_of_any_version(configuration["model"])
        composed = OmegaConf.merge(OmegaConf.structured(Config), dict(configuration) | {"model": model})
    except OmegaConfBaseException as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"the configuration cannot be read: {error.full_key}: {reason}") from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError("the configuration cannot be read: it is none of a run's") from None
    assert isinstance(composed, DictConfig)
    return to_config(composed)


def _check_keys(node: DictConfig, schema: type, prefix: str = "") -> None:
    hints = get_type_hints(schema)
    for key in map(str, node):
        if key not in hints:
            raise InputError(unknown_key(prefix + key))
        if is_schema(hints[key]):
            _check_keys(node[key], hints[key], f"{prefix}{key}.")


def _check_texts(node: Any, key: str = "") -> None:
    """Check that every text can be written to a file.

    Raises:
        InputError: one has a byte that is no character, as names of files may have.
    """
    if isinstance(node, dict):
        for name, value in node.items():
            _check_texts(value, f"{key}.{name}".lstrip("."))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            _check_texts(value, f"{key}.{number}")
    elif isinstance(node, str):
        try:
            node.encode()
        except UnicodeEncodeError as error:
            half = f"{ord(node[error.start]):#x}"
            raise InputError(f"{key} has half a character ({half}), or a byte that is not UTF-8; remove it") from None


def _embedding(key: str, *, _root_: DictConfig) -> str:
    """Return a key of the embedding that is the default for the language of the data set."""
    choice = EMBEDDINGS.get(OmegaConf.select(_root_, "dataset.language"), "minilm")
    return str(OmegaConf.select(OmegaConf.load(CONF / "embedding" / f"{choice}.yaml"), key))


ConfigStore.instance().store(name="schema", node=Config, provider="lrsl")
OmegaConf.register_new_resolver("lrsl.folder", lambda *, _root_: folder(_root_), replace=True)
OmegaConf.register_new_resolver("lrsl.embedding", _embedding, replace=True)
