"""One data set in several forms: which of them the user has."""

from __future__ import annotations

from dataclasses import replace

from lrsl.config.schema import DatasetConfig
from lrsl.data.fetch import available
from lrsl.errors import InputError

_FILES = ("train", "val", "test")


def with_form(config: DatasetConfig, data_dir: str | None) -> DatasetConfig:
    """Return the configuration with the keys of the form in which the data are there.

    That is the form `config.form` names, else the first whose files are all there. A user who sets `train`, `val` or
    `test` has files of their own, and a data set without forms has one form: both are left as they are.

    Raises:
        InputError: the data are there in none of the forms.
    """
    if config.form is not None:
        return replace(config, **config.forms[config.form])  # type: ignore[arg-type]
    if not config.forms or any(getattr(config, key) is not None for key in _FILES):
        return config
    wanted = {name: [form[key] for key in _FILES if key in form] for name, form in config.forms.items()}
    for name, files in wanted.items():
        if all(available(file, data_dir, config.download) for file in files):
            return replace(config, **config.forms[name])  # type: ignore[arg-type]
    first, *others = wanted
    where = f"in the working directory nor in data_dir={data_dir}" if data_dir else "in the working directory"
    alternatives = f", or the files of another of dataset.forms: {', '.join(others)}" if others else ""
    raise InputError(
        f"the files of dataset={config.name} are not {where}; get them from {config.source} and give data_dir=FOLDER, "
        f"a folder that holds {' and '.join(wanted[first])}{alternatives}"
    )
