"""Read what a run left behind: its figures, and the samples that reranking mended or broke.

python examples/read_results.py FOLDER

Without a folder, a recorded run on the embedded data set is read.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parents[1] / "experiments" / "results" / "telecom34-minilm" / "seed0"


def predictions(folder: Path) -> list[dict[str, Any]]:
    """Return a line per test sample; recorded runs have them compressed."""
    plain = folder / "predictions.jsonl"
    packed = folder / "predictions.jsonl.gz"
    text = plain.read_text("utf-8") if plain.exists() else gzip.decompress(packed.read_bytes()).decode("utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def main() -> None:
    """Print figures and samples."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=RECORDED, help="where results.json is")
    folder = parser.parse_args().folder

    results = json.loads((folder / "results.json").read_text("utf-8"))
    print(f"{results['dataset']}, {results['model']}, seed {results['seed']}: {results['hard_fraction']:.1%} hard")
    for system in ("origin", "rerank", "fitted", "similarity"):
        if system in results:  # earlier versions had no fitted rule
            print(f"{system:<12}{results[system]['accuracy']:.2%}")

    lines = predictions(folder)
    mended = [line for line in lines if line["rerank"] == line["gold"] != line["origin"]]
    broken = [line for line in lines if line["origin"] == line["gold"] != line["rerank"]]
    print(f"{len(mended)} mended, {len(broken)} broken")
    for line in mended[:3]:
        print(f"  {line['id']}: {line['origin']} → {line['rerank']}")


if __name__ == "__main__":
    main()
