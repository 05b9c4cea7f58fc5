"""What an example asks of Spark, without a cluster and without Spark: Parquet files as frames of pandas.

Like Spark it sends the function through cloudpickle, gives it an iterator of frames, and holds what it yields to the
schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

CANDIDATE = pa.struct([("label", pa.string()), ("before", pa.float64()), ("after", pa.float64())])
TYPES = {
    "string": pa.string(),
    "boolean": pa.bool_(),
    "array<double>": pa.list_(pa.float64()),
    "array<struct<label: string, before: double, after: double>>": pa.list_(CANDIDATE),
}
FILE = "part-0.parquet"
Function = Callable[[Iterator[pd.DataFrame]], Iterator[pd.DataFrame]]


class Frame:
    """Rows, as a table of Arrow."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.write = self

    def select(self, *columns: str) -> Frame:
        """Return some columns."""
        return Frame(self.table.select(columns))

    def mapInPandas(self, function: Function, schema: str) -> Frame:  # noqa: N802
        """Return what a function over an iterator of frames yields, which has to have the columns of the schema."""
        kinds = "string|boolean|array<double>|array<struct<[^>]*>>"
        fields = re.findall(rf"(\w+) ({kinds})", " ".join(schema.split()))
        expected = pa.schema([(name, TYPES[kind]) for name, kind in fields])
        there, frame = cloudpickle.loads(cloudpickle.dumps(function)), self.table.to_pandas()
        half = len(frame) // 2
        made = list(there(iter([frame[:half], frame[half:]])))
        assert all(list(part.columns) == expected.names for part in made), (made[0].columns, expected.names)
        return Frame(pa.concat_tables(pa.Table.from_pandas(part, expected, preserve_index=False) for part in made))

    def parquet(self, folder: str) -> None:
        """Write them into a folder."""
        Path(folder).mkdir()
        parquet.write_table(self.table, Path(folder) / FILE)

    def filter(self, column: str) -> Frame:
        """Return the rows in which a column is true."""
        return Frame(self.table.filter(self.table[column]))

    def count(self) -> int:
        """Return how many there are."""
        return int(self.table.num_rows)


class SparkSession:
    """Reads Parquet."""

    def __init__(self) -> None:
        self.read = self

    def parquet(self, path: str) -> Frame:
        """Return what a file or a folder holds."""
        return Frame(parquet.read_table(path))

    def getOrCreate(self) -> SparkSession:  # noqa: N802
        """Return itself."""
        return self


def module() -> dict[str, Any]:
    """Return what stands for pyspark in `sys.modules`."""
    sql = ModuleType("pyspark.sql")
    SparkSession.builder = SparkSession()  # type: ignore[attr-defined]
    sql.SparkSession = SparkSession  # type: ignore[attr-defined]
    return {"pyspark": ModuleType("pyspark"), "pyspark.sql": sql}
