"""What the settings of Hydra itself may name: they stand in the same YAML files, and Hydra makes what they name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra._internal import hydra as application
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, ListConfig, OmegaConf

from lrsl.paths import is_name, leaves

PLUGINS = ("hydra._internal.core_plugins.", "hydra_plugins.")
"""Where launchers and sweepers come from; Hydra takes only classes that it has found there."""
CALLBACKS = (
    "lrsl.sweep.journal.SweepStart",
    *(f"hydra.experimental.callbacks.{name}" for name in ("LogJobReturnCallback", "PickleJobInfoCallback")),
)
LOGGING = (
    *(f"logging.{name}" for name in ("StreamHandler", "FileHandler", "NullHandler", "Formatter", "Filter")),
    *(f"logging.handlers.{name}" for name in ("RotatingFileHandler", "TimedRotatingFileHandler")),
    "colorlog.ColoredFormatter",
)
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
VARIABLES = (
    *("CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG", "TOKENIZERS_PARALLELISM"),
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "RAYON_NUM_THREADS"),
)
"""Environment variables that may be set; by others, programs find the code they load."""

_NAMES = ("_target_", "class", "()")  # the last two are those of Python's logging
_OF_A_RUN = "${hydra.runtime.output_dir}/"  # not known before the run, and an absolute path then


class CheckedLoader(ConfigLoaderImpl):
    """Loads a configuration and checks what it has Hydra make, before Hydra sees it."""

    def load_configuration(self, *args: Any, **keys: Any) -> DictConfig:
        """Return the configuration.

        Raises:
            ConfigCompositionException: it names what Hydra is not to make.
        """
        composed: DictConfig = super().load_configuration(*args, **keys)
        check(composed)
        return composed


@contextmanager
def checked() -> Iterator[None]:
    """Have Hydra check, inside, all that it loads."""
    hydra: Any = application
    before, hydra.ConfigLoaderImpl = hydra.ConfigLoaderImpl, CheckedLoader
    try:
        yield
    finally:
        hydra.ConfigLoaderImpl = before


def check(composed: DictConfig) -> None:
    """Check that the settings of Hydra in a configuration name no code but that of launchers, sweepers and logging.

    Raises:
        ConfigCompositionException: they do, or they set a variable by which programs find code, or have a file written
            outside of the run's folder.
    """
    settings = composed.hydra
    for key in ("launcher", "sweeper", "callbacks", "hydra_logging", "job_logging"):
        if OmegaConf.is_config(settings.get(key)):
            _check(settings[key], (key,))
    for variable in settings.job.env_set:
        if str(variable) not in VARIABLES:
            raise ConfigCompositionException(
                f"hydra.job.env_set sets {variable}, and only {', '.join(VARIABLES)} are set there; export it before "
                "the command is typed"
            )
    if (folder := settings.output_subdir) is not None and leaves(str(folder)):
        raise ConfigCompositionException(
            f"hydra.output_subdir={folder} leads out of the run's folder; give a name, such as .hydra"
        )
    if not OmegaConf.is_missing(settings.job, "name") and not is_name(name := str(settings.job.name)):
        raise ConfigCompositionException(f"hydra.job.name={name} is no name for the file of a log; give a plain name")


def _check(node: DictConfig | ListConfig, path: tuple[str, ...]) -> None:
    """Check a part of the settings; what is to be looked up elsewhere is looked up."""
    for key in list(node) if isinstance(node, DictConfig) else range(len(node)):
        if OmegaConf.is_missing(node, key):
            continue
        here = (*path, str(key))
        raw = OmegaConf.to_container(node, resolve=False)[key]  # type: ignore[index]
        if key == "filename" and path[0].endswith("_logging"):
            if not _is_in_the_run(str(raw)):
                raise ConfigCompositionException(
                    f"{'.'.join(('hydra', *here))}={raw} leads out of the run's folder; give {_OF_A_RUN}NAME.log"
                )
            continue
        value = node[key]
        if isinstance(value, DictConfig | ListConfig):
            if OmegaConf.is_interpolation(node, key):  # which may lead back here, without an end
                raise _refused(here, raw)
            _check(value, here)
        elif (key in _NAMES and not _may_be_made(path, str(value))) or (
            isinstance(value, str) and value.startswith(("ext://", "cfg://")) and value not in STREAMS
        ):
            raise _refused(here, value)


def _is_in_the_run(name: str) -> bool:
    """Tell whether the file of a log, as it stands in the settings, lies in the run's folder or the command's."""
    rest = name.removeprefix(_OF_A_RUN).replace("${hydra.job.name}", "job")
    return rest.endswith(".log") and "${" not in rest and is_name(rest)


def _may_be_made(path: tuple[str, ...], name: str) -> bool:
    if path in (("launcher",), ("sweeper",)):
        return name.startswith(PLUGINS)
    if path[0] == "callbacks":
        return len(path) == 2 and name in CALLBACKS
    return path[0].endswith("_logging") and name in LOGGING


def _refused(path: tuple[str, ...], value: Any) -> ConfigCompositionException:
    key = ".".join(("hydra", *path))
    return ConfigCompositionException(
        f"{key}={value} is nothing that Hydra is to make; only launchers, sweepers and callbacks of Hydra and lrsl "
        "are, and the handlers and formatters of Python's logging"
    )
