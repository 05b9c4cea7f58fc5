"""Ask another question of the logits: a detector of one's own, compared with the paper's on a recorded run.

python examples/margin.py

A detector gives one number per row of logits, low where the sample is hard. The margin is the distance of the two
largest logits; the share of the classifier's mistakes among the hardest fifth tells which detector finds them better.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from read_results import RECORDED, predictions
from torch import Tensor

from lrsl import DetectorWithoutFit, TopKVariance


@dataclass(frozen=True)
class Margin(DetectorWithoutFit):
    """The distance of the two largest logits; `Reranker(..., detector=Margin())` takes it."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the margins, `(n,)`."""
        top = logits.topk(2, dim=-1).values
        return top[:, 0] - top[:, 1]


def main() -> None:
    """Compare both on the run's test samples."""
    lines = predictions(RECORDED)
    logits = torch.tensor([[value for _, value in line["top_k_before"]] for line in lines])  # the three largest
    wrong = torch.tensor([line["origin"] != line["gold"] for line in lines])
    for name, hardness in (("variance", TopKVariance(3)(logits)), ("margin", Margin()(logits))):
        hardest = hardness.argsort()[: len(lines) // 5]
        print(f"{name}: {wrong[hardest].sum() / wrong.sum():.1%} of the mistakes are in the hardest fifth")


if __name__ == "__main__":
    main()
