"""Rerank the rows of a data set with `datasets.map`, in several processes.

python examples/rerank_datasets.py my-reranker rows.parquet answers.parquet --processes 2

`my-reranker` is what `lrsl fit` or `save_pretrained` has saved. Rows have a column `text`, and one `logits` with the
classifier's, a list per row.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from datasets import Dataset

from lrsl import RerankedBatches


def main() -> None:
    """Read, rerank, write, and say how many were hard."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reranker", help="a folder, or OWNER/NAME on the hub")
    parser.add_argument("rows", type=Path, help="a Parquet file with the columns text and logits")
    parser.add_argument("out", type=Path, help="the Parquet file to write")
    parser.add_argument("--processes", type=int, default=2, help="processes (2)")
    chosen = parser.parse_args()

    rows = Dataset.from_parquet(str(chosen.rows))
    answered = rows.map(RerankedBatches(chosen.reranker), batched=True, num_proc=chosen.processes)
    answered.to_parquet(chosen.out)
    print(f"{sum(answered['hard']):,} of {len(answered):,} rows are hard")


if __name__ == "__main__":
    main()
