"""Rerank rows with Ray Data's `map_batches`, by actors that load the reranker once each.

python examples/rerank_ray.py my-reranker rows.parquet answers --actors 1

`my-reranker` is what `lrsl fit` or `save_pretrained` has saved. Rows have a column `text`, and one `logits` with the
classifier's, a list per row.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import ray

from lrsl import RerankedBatches


def main() -> None:
    """Read, rerank, write, and say how many were hard."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reranker", help="a folder, or OWNER/NAME on the hub")
    parser.add_argument("rows", type=Path, help="a Parquet file with the columns text and logits")
    parser.add_argument("out", type=Path, help="the folder to write")
    parser.add_argument("--actors", type=int, default=1, help="actors (1); leave a core for reading")
    chosen = parser.parse_args()

    rows = ray.data.read_parquet(str(chosen.rows.resolve()))
    answered = rows.map_batches(
        RerankedBatches,
        fn_constructor_args=(chosen.reranker,),
        batch_format="pandas",
        batch_size=1024,
        compute=ray.data.ActorPoolStrategy(size=chosen.actors),
    ).materialize()
    answered.write_parquet(str(chosen.out.resolve()))
    print(f"{answered.sum('hard'):,} of {answered.count():,} rows are hard")


if __name__ == "__main__":
    main()
