"""Rerank rows with Spark's `mapInPandas`, a function over an iterator of pandas frames.

python examples/rerank_spark.py my-reranker rows.parquet answers

`my-reranker` is what `lrsl fit` or `save_pretrained` has saved. Rows have a column `text`, and one `logits` with the
classifier's, a list per row.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pyspark.sql import SparkSession

from lrsl import RerankedBatches

SCHEMA = (
    "text string, logits array<double>, answer string, hard boolean, "
    "candidates array<struct<label: string, before: double, after: double>>"
)


def main() -> None:
    """Read, rerank, write, and say how many were hard."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reranker", help="a folder, or OWNER/NAME on the hub")
    parser.add_argument("rows", type=Path, help="a Parquet file with the columns text and logits")
    parser.add_argument("out", type=Path, help="the folder to write")
    chosen = parser.parse_args()

    spark = SparkSession.builder.getOrCreate()
    rows = spark.read.parquet(str(chosen.rows)).select("text", "logits")
    answered = rows.mapInPandas(RerankedBatches(chosen.reranker).frames, schema=SCHEMA)
    answered.write.parquet(str(chosen.out))
    written = spark.read.parquet(str(chosen.out))
    print(f"{written.filter('hard').count():,} of {written.count():,} rows are hard")


if __name__ == "__main__":
    main()
