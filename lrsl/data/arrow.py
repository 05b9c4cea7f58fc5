"""Tables of Apache Arrow as records: Parquet files, and the folders that `datasets.Dataset.save_to_disk` writes.

Arrow's own library reads both, so that nothing of `datasets`, and nothing that a file names, is imported or run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrsl.data.table import Record
from lrsl.errors import InputError, nearest, some
from lrsl.paths import is_file, is_name
from lrsl.strict_json import parsed

if TYPE_CHECKING:
    import pyarrow as pa

STATE, INFO, SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"
_SPELLINGS = {"val": ("val", "validation", "valid", "dev"), "unlabelled": ("unlabelled", "unlabeled", "unsupervised")}


def is_saved_dataset(path: Path) -> bool:
    """Tell whether a folder is one that `save_to_disk` has written, of one split or of several."""
    return is_file(path / STATE) or is_file(path / SPLITS)


def split_of(path: Path, split: str) -> Path:
    """Return the folder of a split where the folder holds several; any other path as it is.

    Args:
        path: a file or a folder.
        split: train, val, test or unlabelled.

    Raises:
        InputError: it has no split of that name.
    """
    if not (path / SPLITS).is_file():
        return path
    found = _json(path / SPLITS).get("splits")
    names = [str(name) for name in found] if isinstance(found, list) else []
    for name in _SPELLINGS.get(split, (split,)):
        if name in names:
            return path / name
    key = f"dataset.{split}"
    raise InputError(
        f"{key}={path} holds the splits {some(names) or '(none)'} and none called {split}; name one of them, "
        f"as in {key}={path / (names[0] if names else split)}{nearest(split, names)}"
    )


def read_parquet(path: Path) -> list[Record]:
    """Return the records of a Parquet file; the names of a `ClassLabel` of `datasets` stand for its numbers.

    Raises:
        InputError: pyarrow is missing, the file cannot be read, has a column twice, or holds no record.
    """
    _check_pyarrow(path)
    from pyarrow import parquet  # noqa: PLC0415  (only who has such files needs it)

    with _Reading(path):
        table = parquet.ParquetFile(path).read()
        table.validate(full=True)
    return _records(path, table, _features_of(table.schema))


def iterate_parquet(path: Path, columns: Sequence[str] | None = None, at_once: int = 4096) -> Iterator[Record]:
    """Yield what `read_parquet` returns, a record after the other, without holding the file in memory.

    Args:
        path: the file.
        columns: those that are read; all unless given.
        at_once: records that are held in memory.

    Raises:
        InputError: as for `read_parquet`.
    """
    _check_pyarrow(path)
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    with _Reading(path):
        file = parquet.ParquetFile(path)
    start, features = 1, _features_of(file.schema_arrow)
    batches = file.iter_batches(at_once, columns=None if columns is None else list(columns))
    while True:
        with _Reading(path):
            batch = next(batches, None)
        if batch is None:
            break
        if batch.num_rows:
            yield from _records(path, pa.Table.from_batches([batch]), features, start)
        start += batch.num_rows
    if start == 1:
        raise InputError(f"{path} holds no record; it must hold at least one")


def parquet_schema(path: Path) -> tuple[int, list[str]]:
    """Return the number of records of a Parquet file, and its columns.

    Raises:
        InputError: pyarrow is missing, or the file cannot be read.
    """
    _check_pyarrow(path)
    from pyarrow import parquet  # noqa: PLC0415

    with _Reading(path):
        file = parquet.ParquetFile(path)
        return int(file.metadata.num_rows), list(file.schema_arrow.names)


def read_saved_dataset(path: Path) -> list[Record]:
    """Return the records of a folder that `Dataset.save_to_disk` has written, class labels by their names.

    Raises:
        InputError: pyarrow is missing, the folder is damaged, of an old form, or holds no record.
    """
    _check_pyarrow(path)
    import pyarrow as pa  # noqa: PLC0415

    state = _json(path / STATE)
    if state.get("_indices_data_files"):
        raise InputError(
            f"{path} was saved by an old version of datasets, with its rows in another order; save it anew"
        )
    listed = state.get("_data_files")
    found = (
        [of_file.get("filename") for of_file in listed if isinstance(of_file, dict)] if isinstance(listed, list) else []
    )
    names = [Path(name).name for name in found if isinstance(name, str)]  # files lie in the folder, whatever it may say
    if not names or len(names) < len(found) or not all(map(is_name, names)):
        raise InputError(f"{path / STATE} names no file of data; save the data set anew")
    tables = []
    for name in names:
        file = path / name
        with _Reading(file), pa.OSFile(str(file)) as source:
            tables.append(pa.ipc.open_stream(source).read_all())
    with _Reading(path):
        table = pa.concat_tables(tables)
        table.validate(full=True)
    features = _json(path / INFO).get("features") if (path / INFO).is_file() else None
    return _records(path, table, features if isinstance(features, dict) else _features_of(table.schema))


_DAMAGED = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    SystemError,
    MemoryError,
)
"""What pyarrow raises over files that are not what they say."""


class _Reading:
    """Says in one sentence that a file cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        """Begin to read."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Turn what pyarrow raises into a sentence."""
        import pyarrow as pa  # noqa: PLC0415

        if isinstance(error, (*_DAMAGED, pa.ArrowException)) and not isinstance(error, InputError):
            reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:160].rstrip(". ")
            raise InputError(f"{self.path} cannot be read ({reason}); write it anew") from None


def _check_pyarrow(path: Path) -> None:
    try:
        import pyarrow  # noqa: F401, PLC0415
    except ModuleNotFoundError:
        raise InputError(
            f"{path} needs the package pyarrow, which is not installed; pip install 'lrsl[parquet]' adds it, or give "
            "CSV or JSON lines"
        ) from None


def _json(path: Path) -> dict[str, Any]:
    try:
        content = parsed(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); save the data set anew") from None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged; save the data set anew")
    return content


def _features_of(schema: pa.Schema) -> Mapping[str, Any]:
    """Return what `datasets` notes of the columns in a schema; nothing where others have written it."""
    try:
        features = parsed((schema.metadata or {})[b"huggingface"].decode())["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return features if isinstance(features, dict) else {}


def _records(path: Path, table: pa.Table, features: Mapping[str, Any], start: int = 1) -> list[Record]:
    columns = table.column_names
    for column in columns:
        if columns.count(column) > 1:
            raise InputError(f"{path} names the column '{column}' twice; column names must differ")
    if not table.num_rows:
        raise InputError(f"{path} holds no record; it must hold at least one")
    values = {}
    for column in columns:
        with _Reading(path):
            read = table.column(column).to_pylist()
        names = _class_names(features.get(column))
        values[column] = read if names is None else list(_named(path, column, read, names))
    rows = zip(*values.values(), strict=True)
    return [
        Record(path, row, {column: _without_nan(value) for column, value in zip(values, of_row, strict=True)}, "row")
        for row, of_row in enumerate(rows, start=start)
    ]


def _class_names(feature: Any) -> list[str] | None:
    names = feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None
    return [str(name) for name in names] if isinstance(names, list) else None


def _named(path: Path, column: str, labels: list[Any], names: list[str]) -> Iterator[str | None]:
    """Yield the name of each label; None for -1, which `datasets` has where a label is not known."""
    for row, label in enumerate(labels, start=1):
        if label is None or label == -1:
            yield None
        elif isinstance(label, int) and 0 <= label < len(names):
            yield names[label]
        else:
            raise InputError(
                f"{path}, row {row} has {label!r} in the column '{column}', whose labels are 0 to {len(names) - 1}; "
                "write the data anew"
            )


def _without_nan(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value  # pandas' way to say that there is nothing
