"""The paper's equations: which samples are hard, what they are confused with, and how they are reranked.

Pure torch, no state. `logits` are a classifier's raw outputs, `(n, classes)`; `labels` are `(n,)` int64 indices of the
true classes. Half precision comes in as it is and is computed in float32; float64 stays float64. A NaN or an infinity
is an error that says where it stands, because a ranking made from one would look like any other. Variance, hardness
and reranking pass on no gradient; their time is linear in n, and in between they need memory for one chunk of rows.

Source: Huang et al., "Logits Reranking via Semantic Labels for Hard Samples in Text Classification", Findings of EMNLP
2024; equation numbers are the paper's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor


@torch.no_grad()
def topk_variance(logits: Float[Tensor, "n classes"], k: int) -> Float[Tensor, " n"]:
    """Return the population variance of each row's k largest raw logits: low where the classifier hesitates.

    Exactly 0 for a row whose k largest logits are equal.

    Args:
        logits: raw logits, finite.
        k: number of largest logits, at least 1 and at most the number of classes.

    Returns:
        the variances, float64 for float64 logits and float32 otherwise.

    Raises:
        ValueError: k is out of range or a logit is not finite.

    Example:
        >>> topk_variance(torch.tensor([[4.0, 2.0, 0.0, -9.0], [1.0, 1.0, 1.0, -9.0]]), k=3)
        tensor([2.6667, 0.0000])
    """
    _check_k(k, logits.shape[1], "classes")
    check_finite("logits", logits)
    variance = logits.new_empty(len(logits), dtype=at_least_float32(logits))
    for rows, top in zip(variance.split(_chunk(logits)), _largest(logits, k), strict=True):
        centred = [z - top[0] for z in top]  # equal numbers differ by exactly 0, their mean need not be exact
        mean = sum(centred) / k
        rows.copy_(sum((z - mean).square() for z in centred) / k)
    return variance


def sigma2_mis(logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"], k: int) -> float:
    r"""Return σ²_mis, the mean top-k variance of the samples the classifier gets wrong (eq. 7).

    $$\sigma^2_{mis} = \frac{1}{|M|} \sum_{i \in M} Var(Top\text{-}k(z_i))$$

    0.0 when nothing is misclassified: then no variance is strictly below it and no sample is hard.

    Args:
        logits: raw logits of held-out samples, never of the test split.
        labels: their true labels.
        k: number of largest logits.

    Raises:
        ValueError: as `topk_variance`; or a label is no class.
    """
    return mean_of_misclassified(topk_variance(logits, k), logits, labels)


def mean_of_misclassified(
    values: Float[Tensor, " n"], logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]
) -> float:
    """Return the mean of any number per sample over the misclassified ones, 0.0 when there are none (eq. 7).

    Raises:
        ValueError: a label is no class.
    """
    check_labels(labels, logits.shape[1])
    misclassified = logits.argmax(dim=-1) != labels
    return values[misclassified].double().mean().item() if misclassified.any() else 0.0


def is_hard(logits: Float[Tensor, "n classes"], threshold: float, k: int) -> Bool[Tensor, " n"]:
    """Tell which samples are hard: those whose top-k variance lies strictly below the threshold (section 3.2).

    Raises:
        ValueError: as `topk_variance`; or the threshold is NaN.
    """
    if math.isnan(threshold):
        raise ValueError("threshold is nan; it must be a number, such as what sigma2_mis returns")
    return topk_variance(logits, k).double() < threshold


def confused_labels(
    logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"], k: int
) -> Int64[Tensor, "n confused"]:
    """Return the k labels the classifier confuses each sample with, the likeliest first (eqs. 2-3).

    The true label is masked with -inf, so it is never among them, whatever the signs of the logits; as printed, eq. 2
    clamps at 0 and would let it back in. Equal logits keep the order of the labels.

    Args:
        logits: raw logits.
        labels: true labels.
        k: number of confused labels, at most the number of classes less one.

    Raises:
        ValueError: k is out of range, a label is no class, or a logit is not finite.

    Example:
        >>> confused_labels(torch.tensor([[0.5, 3.0, 2.0, -1.0]]), torch.tensor([1]), k=2)
        tensor([[2, 0]])
    """
    _check_k(k, logits.shape[1] - 1, "classes other than the true one")
    check_labels(labels, logits.shape[1])
    check_finite("logits", logits)
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return others.argsort(dim=-1, descending=True, stable=True)[:, :k]


def mnrl_loss(
    text: Float[Tensor, "b d"], label: Float[Tensor, "b d"], confused: Float[Tensor, "b k d"], scale: float
) -> Float[Tensor, ""]:
    r"""Return the multiple negatives ranking loss of texts against their own and their confused labels (eqs. 4-6).

    $$L = -\log \frac{\exp(s \cdot Sim(t, p))}{\exp(s \cdot Sim(t, p)) + \sum_i \exp(s \cdot Sim(t, n_i))}$$

    with Sim the cosine and s the scale. With s = 1, as printed, it cannot fall below log(1 + k e⁻²).

    Args:
        text: embeddings of the texts.
        label: embeddings of their true labels.
        confused: embeddings of their k confused labels.
        scale: factor on the cosine.

    Returns:
        the mean over the batch; 0 for an empty one.
    """
    text, label, confused = (F.normalize(e.to(at_least_float32(e)), dim=-1) for e in (text, label, confused))
    positive = (text * label).sum(-1, keepdim=True)
    negative = (text[:, None] * confused).sum(-1)
    first = torch.zeros(len(text), dtype=torch.int64, device=text.device)
    return ranking_loss(torch.cat([positive, negative], dim=1), first, scale)


def ranking_loss(
    similarity: Float[Tensor, "b u"],
    positive: Int64[Tensor, " b"],
    scale: float,
    candidates: Bool[Tensor, "b u"] | None = None,
) -> Float[Tensor, ""]:
    """Return eq. 6 from cosines to u distinct labels, each encoded once for the whole batch.

    The same number as `mnrl_loss` when the candidates of a row are its confused labels; every label as a candidate
    gives `negatives=all`. The positive is never its own negative.

    Args:
        similarity: cosine of each text with each distinct label.
        positive: column of each text's true label.
        scale: factor on the cosine.
        candidates: which columns are negatives of which text; None for all of them.

    Returns:
        the mean over the batch; 0 for an empty one.
    """
    logits = scale * similarity.to(at_least_float32(similarity))
    if candidates is not None:
        kept = candidates.scatter(1, positive[:, None], value=True)
        logits = logits.masked_fill(~kept, -torch.inf)
    return F.cross_entropy(logits, positive, reduction="sum") / max(len(logits), 1)


def label_similarity(text: Float[Tensor, "n d"], label: Float[Tensor, "classes d"]) -> Float[Tensor, "n classes"]:
    """Return the cosine similarity of each text's embedding with each label's (eq. 9), in [-1, 1]."""
    text, label = (F.normalize(e.to(at_least_float32(e)), dim=-1) for e in (text, label))
    with torch.autocast(text.device.type, enabled=False):  # else the product comes back in half precision
        return (text @ label.T).clamp(-1, 1)


@torch.no_grad()
def rerank(
    logits: Float[Tensor, "n classes"], similarity: Float[Tensor, "n classes"], power: float = 1.0
) -> Float[Tensor, "n classes"]:
    r"""Return the new scores of hard samples (eq. 10): $R = D^{power} \cdot softmax(v)$.

    With power 1 a negative similarity gives a negative score, as in the paper; with any other power similarities are
    clipped at 0 first, since a power of a negative number is undefined or turns its sign.

    Args:
        logits: the classifier's raw logits.
        similarity: a view's score for each text and label, the cosine in the paper.
        power: exponent on the similarity, at least 0; the paper's equation has 1, the figures of its case study fit 2.

    Returns:
        scores to rank by; they do not sum to 1.

    Raises:
        ValueError: the power is negative, or a logit or a similarity is not finite.

    Example:
        >>> logits, similarity = torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[0.2, 0.8, 0.5]])
        >>> rerank(logits, similarity).argmax(dim=-1)
        tensor([1])
    """
    if not power >= 0:
        raise ValueError(f"power is {power}; it must be at least 0")
    check_finite("logits", logits)
    check_finite("similarity", similarity)
    dtype = torch.promote_types(at_least_float32(logits), at_least_float32(similarity))
    scores = torch.empty(logits.shape, dtype=dtype, device=logits.device)
    chunks = [x.split(_chunk(logits)) for x in (scores, logits, similarity)]
    room = torch.empty_like(chunks[0][0])
    for score, v, d in zip(*chunks, strict=True):
        score.copy_(d)
        if power != 1:
            score.clamp_(min=0).pow_(power)
        score.mul_(torch.softmax(v, dim=-1, dtype=dtype, out=room[: len(v)]))
    return scores


# What makes this fast. On a CPU, memory that was just asked for costs more than the arithmetic on it, so rows come in
# chunks, and what is needed in between is written over by the next one. torch.topk sorts half of each row when there
# are fewer than 64 classes to each of the k; then k rounds of max are faster, while k is small. A row's result depends
# on that row alone and is the same to the bit in a chunk of any size and either way.

CHUNK = 2**22  # numbers in a chunk: 16 MB of float32
FEW = 6  # the largest k for rounds of max


def _chunk(x: Tensor) -> int:
    return max(1, CHUNK // max(1, x.shape[1])) if x.device.type == "cpu" else max(1, len(x))


def _largest(logits: Float[Tensor, "n classes"], k: int) -> Iterator[Sequence[Float64[Tensor, " rows"]]]:
    chunks = logits.split(_chunk(logits))
    if logits.device.type != "cpu" or k > FEW or logits.shape[1] >= 64 * k:
        yield from (chunk.topk(k, dim=-1).values.double().unbind(dim=1) for chunk in chunks)
        return
    room = logits.new_empty(chunks[0].shape)
    for chunk in chunks:
        top, rest = [], chunk
        for _ in range(k - 1):
            highest = rest.max(dim=-1)
            top.append(highest.values.double())
            rest = torch.scatter(rest, 1, highest.indices[:, None], -torch.inf, out=room[: len(chunk)])
        yield [*top, rest.amax(dim=-1).double()]


def at_least_float32(x: Tensor) -> torch.dtype:
    """Return the type to compute in: float64 for float64, float32 otherwise."""
    return torch.promote_types(x.dtype, torch.float32)


def _check_k(k: int, most: int, what: str) -> None:
    if not 1 <= k <= most:
        raise ValueError(f"k is {k}; it must be at least 1 and at most {most}, the number of {what}")


def check_labels(labels: Int64[Tensor, " n"], classes: int) -> None:
    """Raise a ValueError that names the first label that is no class."""
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ValueError(f"labels[{row}] is {int(labels[row])}; with {classes} classes it must be 0 to {classes - 1}")


def check_finite(name: str, x: Tensor) -> None:
    """Raise a ValueError that names the first value of a matrix that is not finite."""
    if x.numel() == 0 or torch.stack(x.aminmax()).isfinite().all():  # a NaN is the smallest and the largest of all
        return
    row = int((~torch.stack(x.aminmax(dim=-1)).isfinite()).any(dim=0).nonzero()[0])
    column = int((~x[row].isfinite()).nonzero()[0])
    raise ValueError(f"{name}[{row}, {column}] is {x[row, column].item()}; every value must be finite")
