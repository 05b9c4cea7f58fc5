"""Where a data set's files are: given by the user, in `data_dir`, or fetched and checked."""

from __future__ import annotations

import logging
from pathlib import Path

import pooch

from lrsl.config.schema import DownloadConfig
from lrsl.data.arrow import is_saved_dataset
from lrsl.errors import InputError
from lrsl.masking import without_credentials
from lrsl.paths import home_of, is_file, is_folder

logger = logging.getLogger("lrsl.data")


def locate(key: str, name: str, data_dir: str | None, download: dict[str, DownloadConfig]) -> Path:
    """Return the local path of a data file, or of a folder that `datasets.Dataset.save_to_disk` has written.

    A file that has a public address comes from `data_dir` when that is set, else from the cache, into which it is
    fetched once. Any other is looked for in the working directory, then in `data_dir`.

    Args:
        key: the configuration key that names the file, for the error.
        name: the file's path, relative or absolute.
        data_dir: folder of local copies.
        download: public address and checksum by file name.

    Raises:
        InputError: the file is not there, cannot be fetched, or is not the one its checksum promises.
    """
    if name in download and not data_dir:
        return _fetch(name, download[name])
    places = _places(name, data_dir, download)
    for place in places:
        if _is_there(place):
            return place
    if name in download:
        raise InputError(f"{places[0]} does not exist; data_dir={data_dir} must name a folder that holds {name}")
    for place in places:
        if is_folder(place):
            raise InputError(
                f"{key}={name} is a folder that no save_to_disk of datasets has written; give the path of a file in "
                "it, or of such a folder"
            )
    where = f"in the working directory nor in data_dir={data_dir}" if data_dir else "in the working directory"
    raise InputError(f"{key}={name} is no file {where}; give the path of one")


def available(name: str, data_dir: str | None, download: dict[str, DownloadConfig]) -> bool:
    """Tell whether `locate` can find the file, the network permitting."""
    return (name in download and not data_dir) or any(_is_there(path) for path in _places(name, data_dir, download))


def _is_there(path: Path) -> bool:
    return is_file(path) or is_saved_dataset(path)


def _places(name: str, data_dir: str | None, download: dict[str, DownloadConfig]) -> list[Path]:
    given = home_of(name)
    places = [] if name in download else [given]
    return [*places, home_of(data_dir) / given] if data_dir else places


def _fetch(name: str, download: DownloadConfig) -> Path:
    target = Path(pooch.os_cache("lrsl")) / name
    pooch.get_logger().setLevel(logging.WARNING)
    if not target.exists():
        logger.info("fetching %s from %s", name, without_credentials(download.url))
    try:
        pooch.retrieve(download.url, f"sha256:{download.sha256}", fname=target.name, path=target.parent)
    except OSError as error:  # requests' exceptions are OSErrors, too
        raise InputError(
            f"{name} could not be fetched from {download.url} into {target.parent} ({type(error).__name__}); "
            f"without a network, name a folder that holds {name} with data_dir=FOLDER"
        ) from None
    except ValueError:
        raise InputError(
            f"{name} as fetched from {download.url} does not have the SHA-256 {download.sha256}, so it is not the file "
            f"it should be; fetch again, or name a folder that holds {name} with data_dir=FOLDER"
        ) from None
    return target
