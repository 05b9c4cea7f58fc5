"""The paper's equations against an independent implementation in numpy, one sample at a time."""

import itertools
import math
from unittest import mock

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lrsl import core

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


# Section 3 of the paper, written out


def variance_of_top(row: np.ndarray, k: int) -> float:
    top = sorted(row.tolist(), reverse=True)[:k]
    mean = math.fsum(top) / k
    return math.fsum((z - mean) ** 2 for z in top) / k


def eq_7(logits: np.ndarray, labels: np.ndarray, k: int) -> float:
    wrong = [row for row, label in zip(logits, labels, strict=True) if int(np.argmax(row)) != label]
    return sum(variance_of_top(row, k) for row in wrong) / len(wrong) if wrong else 0.0


def eqs_2_and_3(row: np.ndarray, label: int, k: int) -> list[int]:
    others = [c for c in range(len(row)) if c != label]
    return sorted(others, key=lambda c: (-row[c], c))[:k]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (math.sqrt(a @ a) * math.sqrt(b @ b)))


def eqs_4_to_6(text: np.ndarray, label: np.ndarray, confused: np.ndarray, scale: float) -> float:
    positive = math.exp(scale * cosine(text, label))
    negative = sum(math.exp(scale * cosine(text, n)) for n in confused)
    return -math.log(positive / (positive + negative))


def eq_10(row: np.ndarray, similarity: np.ndarray, power: float) -> np.ndarray:
    exponentials = np.exp(row - row.max())
    weight = similarity if power == 1 else np.where(similarity > 0, similarity, 0) ** power
    return weight * exponentials / exponentials.sum()


# What hypothesis draws from


@st.composite
def logit_rows(draw, least_rows=0, least_classes=2, unique=False):
    """Logits (n, classes) in float64, small multiples of 1/8 so that ties occur and sums are exact."""
    n, classes = draw(st.integers(least_rows, 6)), draw(st.integers(least_classes, 9))
    row = npst.arrays(np.int64, classes, elements=st.integers(-160, 160), unique=unique)
    return np.array([draw(row) for _ in range(n)], dtype=np.float64).reshape(n, classes) / 8


@st.composite
def labelled(draw, least_rows=0, unique=False):
    logits = draw(logit_rows(least_rows, unique=unique))
    classes = logits.shape[1]
    labels = draw(npst.arrays(np.int64, len(logits), elements=st.integers(0, classes - 1)))
    return logits, labels


@st.composite
def embedded(draw):
    """Embeddings (b, d), (b, d), (b, k, d) and a scale."""
    b, k, d = draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = draw(st.sampled_from([0.01, 1.0, 100.0]))
    shapes = ((b, d), (b, d), (b, k, d))
    return *(lengths * rng.normal(size=shape) for shape in shapes), draw(st.sampled_from([1.0, 5.0, 20.0]))


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(a)) for a in arrays]


# topk_variance


@given(logit_rows(), st.data())
def test_variance_equals_numpy(logits, data):
    k = data.draw(st.integers(1, logits.shape[1]))
    expected = [variance_of_top(row, k) for row in logits]
    (z,) = tensors(logits)
    np.testing.assert_allclose(core.topk_variance(z, k), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(core.topk_variance(z.float(), k), expected, rtol=1e-6, atol=1e-12)


@given(logit_rows(), st.floats(-1e3, 1e3), st.floats(0.1, 10), st.randoms(use_true_random=False))
def test_variance_ignores_a_shift_and_the_order_and_grows_with_the_square(logits, shift, factor, random):
    (z,) = tensors(logits)
    k = min(3, z.shape[1])
    variance = core.topk_variance(z, k)
    torch.testing.assert_close(core.topk_variance(z + shift, k), variance, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(core.topk_variance(z * factor, k), variance * factor**2, rtol=1e-9, atol=1e-9)
    columns = random.sample(range(z.shape[1]), z.shape[1])
    assert torch.equal(core.topk_variance(z[:, columns], k), variance)


@given(logit_rows(least_classes=4), st.floats(0, 100))
def test_variance_ignores_what_is_not_among_the_top(logits, drop):
    (z,) = tensors(np.sort(logits)[:, ::-1])
    lower = z.clone()
    lower[:, 3:] -= drop
    assert torch.equal(core.topk_variance(lower, 3), core.topk_variance(z, 3))


@given(st.floats(-1e30, 1e30), st.integers(1, 9), st.sampled_from([torch.float32, torch.float64]))
def test_variance_of_identical_logits_is_exactly_zero(value, classes, dtype):
    z = torch.full((2, classes), value, dtype=dtype)
    for k in range(1, classes + 1):
        assert core.topk_variance(z, k).tolist() == [0.0, 0.0]
        assert not core.is_hard(z, 0.0, k).any()


@pytest.mark.parametrize("dtype", FLOATS)
def test_variance_keeps_its_digits_far_from_zero(dtype):
    z = torch.tensor([[4096.0, 4064.0, 4032.0, 0.0]], dtype=dtype)  # exact in every one of the four types
    assert core.topk_variance(z, 3).item() == pytest.approx((32**2 + 32**2) / 3, rel=1e-6)


# sigma2_mis and is_hard


@given(labelled())
def test_sigma2_mis_equals_numpy(sample):
    logits, labels = sample
    for k in range(2, logits.shape[1] + 1):
        found = core.sigma2_mis(*tensors(logits, labels), k)
        assert type(found) is float
        assert found == pytest.approx(eq_7(logits, labels, k), rel=1e-12, abs=1e-12)


@given(labelled(), st.randoms(use_true_random=False))
def test_sigma2_mis_ignores_the_order_of_samples_and_what_is_right(sample, random):
    z, y = tensors(*sample)
    sigma2 = core.sigma2_mis(z, y, 2)
    rows = random.sample(range(len(z)), len(z))
    assert core.sigma2_mis(z[rows], y[rows], 2) == pytest.approx(sigma2, rel=1e-12)
    wrong = z.argmax(-1) != y
    assert core.sigma2_mis(z[wrong], y[wrong], 2) == sigma2


@given(logit_rows())
def test_nothing_is_hard_when_nothing_is_misclassified(logits):
    (z,) = tensors(logits)
    threshold = core.sigma2_mis(z, z.argmax(-1), 2)
    assert threshold == 0.0
    assert not core.is_hard(z, threshold, 2).any()


def test_a_single_misclassified_sample_is_not_below_its_own_variance():
    for dtype in FLOATS:
        z, y = torch.tensor([[0.1, 0.7, 0.3], [9.0, 1.0, 0.0]], dtype=dtype), torch.tensor([0, 0])
        threshold = core.sigma2_mis(z, y, 3)
        assert core.is_hard(z, threshold, 3).tolist() == [False, False]
        assert core.is_hard(z, math.nextafter(threshold, math.inf), 3).tolist() == [True, False]


@given(logit_rows(least_rows=1), st.data())
def test_hard_is_strictly_below_the_threshold(logits, data):
    k = data.draw(st.integers(2, logits.shape[1]))
    (z,) = tensors(logits)
    variance = core.topk_variance(z, k)
    threshold = data.draw(st.sampled_from([-1.0, 0.0, math.inf, *variance.tolist()]))
    hard = core.is_hard(z, threshold, k)
    assert hard.dtype == torch.bool
    assert hard.tolist() == [v < threshold for v in variance.tolist()]


@given(labelled(least_rows=1))
def test_the_mean_of_misclassified_takes_any_number_per_sample(sample):
    logits, labels = sample
    z, y = tensors(logits, labels)
    wrong = [i for i, row in enumerate(logits) if int(np.argmax(row)) != labels[i]]
    expected = sum(10.0 * i for i in wrong) / len(wrong) if wrong else 0.0
    assert core.mean_of_misclassified(10.0 * torch.arange(len(z)), z, y) == pytest.approx(expected)


# confused_labels


@given(labelled())
def test_confused_labels_equal_numpy_are_best_first_and_never_the_true_one(sample):
    logits, labels = sample
    for k in range(1, logits.shape[1]):
        found = core.confused_labels(*tensors(logits, labels), k)
        assert found.shape == (len(logits), k)
        assert found.dtype == torch.int64
        for row, label, confused in zip(logits, labels, found.tolist(), strict=True):
            assert confused == eqs_2_and_3(row, int(label), k)
            assert label not in confused
            assert len(set(confused)) == k
            assert all(row[a] >= row[b] for a, b in itertools.pairwise(confused))


@given(labelled(unique=True), st.randoms(use_true_random=False))
def test_confused_labels_follow_renamed_classes_and_moved_samples(sample, random):
    z, y = tensors(*sample)
    n, classes = z.shape
    k = classes - 1
    confused = core.confused_labels(z, y, k)
    new_name = torch.tensor(random.sample(range(classes), classes))
    renamed = torch.empty_like(z)
    renamed[:, new_name] = z
    assert torch.equal(core.confused_labels(renamed, new_name[y], k), new_name[confused])
    rows = random.sample(range(n), n)
    assert torch.equal(core.confused_labels(z[rows], y[rows], k), confused[rows])


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_signs_of_the_logits_do_not_let_the_true_label_back_in(dtype):
    lowest = torch.finfo(dtype).min
    z = torch.tensor([[-1.0, -5.0, -3.0, -9.0], [lowest, lowest, 0.0, lowest]], dtype=dtype)
    assert core.confused_labels(z, torch.tensor([0, 2]), 3).tolist() == [[2, 1, 3], [0, 1, 3]]


def test_all_negative_logits_are_like_any_other():
    z, y = torch.tensor([[-1.0, -2.0, -4.0], [-7.0, -6.0, -9.0]]), torch.tensor([0, 0])
    assert core.topk_variance(z, 2).tolist() == [0.25, 0.25]
    assert core.sigma2_mis(z, y, 2) == 0.25
    assert core.rerank(z, torch.ones(2, 3)).argmax(-1).tolist() == [0, 1]


# mnrl_loss and ranking_loss


@given(embedded())
def test_mnrl_equals_numpy(batch):
    text, label, confused, scale = batch
    expected = np.mean([eqs_4_to_6(t, p, n, scale) for t, p, n in zip(text, label, confused, strict=True)])
    found = core.mnrl_loss(*tensors(text, label, confused), scale)
    assert found.shape == ()
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(embedded())
def test_mnrl_cannot_fall_below_its_bound(batch):
    text, label, confused, scale = batch
    t, p, n = tensors(text, label, confused)
    k = n.shape[1]
    bound = math.log1p(k * math.exp(-2 * scale))
    assert core.mnrl_loss(t, p, n, scale).item() >= bound - 1e-12
    nearest_and_opposite = core.mnrl_loss(t, 3 * t, -t[:, None].expand(-1, k, -1), scale)
    assert nearest_and_opposite.item() == pytest.approx(bound, rel=1e-6, abs=1e-12)


def test_mnrl_bound_at_scale_1_is_the_papers():
    t = torch.eye(3)
    for k in (1, 3, 10):
        loss = core.mnrl_loss(t, t, -t[:, None].expand(-1, k, -1), 1.0)
        assert loss.item() == pytest.approx(math.log(1 + k * math.exp(-2)), rel=1e-6)


@given(embedded(), st.floats(0.1, 10), st.randoms(use_true_random=False))
def test_mnrl_sees_directions_only_and_no_order(batch, length, random):
    text, label, confused, scale = batch
    t, p, n = tensors(text, label, confused)
    loss = core.mnrl_loss(t, p, n, scale)
    torch.testing.assert_close(core.mnrl_loss(length * t, p, n * length, scale), loss)
    order = random.sample(range(n.shape[1]), n.shape[1])
    torch.testing.assert_close(core.mnrl_loss(t, p, n[:, order], scale), loss)
    rows = random.sample(range(len(t)), len(t))
    torch.testing.assert_close(core.mnrl_loss(t[rows], p[rows], n[rows], scale), loss)


@st.composite
def texts_labels_and_confused(draw):
    """Embeddings of texts and of every label, true labels, the confused ones and a scale."""
    logits, labels = draw(labelled(least_rows=1))
    z, y = tensors(logits, labels)
    k = draw(st.integers(1, z.shape[1] - 1))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    texts, label_vectors = tensors(rng.normal(size=(len(z), 4)), rng.normal(size=(z.shape[1], 4)))
    return texts, label_vectors, y, core.confused_labels(z, y, k), draw(st.sampled_from([1.0, 20.0]))


@given(texts_labels_and_confused())
def test_ranking_loss_with_confused_candidates_is_mnrl(drawn):
    texts, labels, y, confused, scale = drawn
    similarity = core.label_similarity(texts, labels)
    candidates = torch.zeros_like(similarity, dtype=torch.bool).scatter(1, confused, value=True)
    expected = core.mnrl_loss(texts, labels[y], labels[confused], scale)
    torch.testing.assert_close(core.ranking_loss(similarity, y, scale, candidates), expected)
    # naming the true label a candidate changes nothing: it is never its own negative
    candidates = candidates.scatter(1, y[:, None], value=True)
    torch.testing.assert_close(core.ranking_loss(similarity, y, scale, candidates), expected)


@given(texts_labels_and_confused())
def test_ranking_loss_without_candidates_takes_every_label(drawn):
    texts, labels, y, _, scale = drawn
    similarity = core.label_similarity(texts, labels)
    everything = torch.ones_like(similarity, dtype=torch.bool)
    loss = core.ranking_loss(similarity, y, scale)
    torch.testing.assert_close(core.ranking_loss(similarity, y, scale, everything), loss)
    others = [
        eqs_4_to_6(t, labels[p].numpy(), np.delete(labels.numpy(), p, axis=0), scale)
        for t, p in zip(texts.numpy(), y.tolist(), strict=True)
    ]
    assert loss.item() == pytest.approx(np.mean(others), rel=1e-9, abs=1e-9)


def test_ranking_loss_without_a_negative_is_zero():
    none = torch.zeros(2, 3, dtype=torch.bool)
    assert core.ranking_loss(torch.rand(2, 3), torch.tensor([0, 2]), 20.0, none).item() == 0.0


def test_gradients_are_right_and_stay_finite_beside_masked_labels():
    generator = torch.Generator().manual_seed(0)
    t, p = (torch.randn(2, 4, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(2))
    n = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *e: core.mnrl_loss(*e, 5.0), (t, p, n))
    similarity = torch.rand(2, 3, generator=generator, requires_grad=True)
    candidates = torch.tensor([[False, True, False], [False, False, False]])
    core.ranking_loss(similarity, torch.tensor([0, 2]), 20.0, candidates).backward()
    assert similarity.grad is not None
    assert similarity.grad.isfinite().all()
    assert (similarity.grad != 0).tolist() == [[True, True, False], [False, False, False]]


# label_similarity


@given(st.integers(0, 2**32 - 1), st.integers(0, 4), st.integers(1, 5))
def test_similarity_is_the_cosine(seed, n, classes):
    rng = np.random.default_rng(seed)
    text, label = rng.normal(size=(n, 3)), rng.normal(size=(classes, 3))
    found = core.label_similarity(*tensors(text, label))
    expected = [[cosine(t, x) for x in label] for t in text]
    np.testing.assert_allclose(found, np.reshape(expected, (n, classes)), atol=1e-12)


def test_similarity_stays_within_its_range():
    x = torch.randn(200, 7, generator=torch.Generator().manual_seed(0))
    assert core.label_similarity(x, x).max() <= 1
    assert core.label_similarity(x, -x).min() >= -1


# rerank


@given(labelled(), st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0]), st.integers(0, 2**32 - 1))
def test_rerank_equals_numpy(sample, power, seed):
    logits = sample[0]
    similarity = np.random.default_rng(seed).uniform(-1, 1, size=logits.shape)
    found = core.rerank(*tensors(logits, similarity), power)
    expected = [eq_10(row, s, power) for row, s in zip(logits, similarity, strict=True)]
    np.testing.assert_allclose(found, np.reshape(expected, logits.shape), rtol=1e-12, atol=1e-300)


@given(logit_rows(), st.floats(0.01, 1), st.sampled_from([0.0, 0.5, 1.0, 2.0]))
def test_a_uniform_similarity_keeps_the_ranking(logits, value, power):
    (z,) = tensors(logits)
    scores = core.rerank(z, torch.full_like(z, value), power)
    assert torch.equal(
        scores.argsort(dim=-1, descending=True, stable=True), z.argsort(dim=-1, descending=True, stable=True)
    )


@given(logit_rows(), st.floats(-100, 100), st.integers(0, 2**32 - 1), st.randoms(use_true_random=False))
def test_rerank_ignores_a_shift_and_follows_renamed_classes_and_moved_samples(logits, shift, seed, random):
    z, similarity = tensors(logits, np.random.default_rng(seed).uniform(-1, 1, size=logits.shape))
    scores = core.rerank(z, similarity)
    torch.testing.assert_close(core.rerank(z + shift, similarity), scores, rtol=1e-9, atol=0)
    columns = random.sample(range(z.shape[1]), z.shape[1])
    torch.testing.assert_close(core.rerank(z[:, columns], similarity[:, columns]), scores[:, columns])
    rows = random.sample(range(len(z)), len(z))
    torch.testing.assert_close(core.rerank(z[rows], similarity[rows]), scores[rows])


def test_power_1_keeps_the_sign_and_any_other_clips():
    z, similarity = torch.zeros(1, 2), torch.tensor([[-0.5, 0.5]])
    assert core.rerank(z, similarity).tolist() == [[-0.25, 0.25]]
    assert core.rerank(z, similarity, 2.0).tolist() == [[0.0, 0.125]]
    assert core.rerank(z, similarity, 0.5)[0].tolist() == pytest.approx([0.0, 0.5 * math.sqrt(0.5)])
    assert core.rerank(z, similarity, 0.0).tolist() == [[0.5, 0.5]]


def test_rerank_leaves_its_arguments_alone():
    z, similarity = torch.tensor([[1.0, 2.0]]), torch.tensor([[-0.5, 0.5]])
    core.rerank(z, similarity, 2.0)
    core.confused_labels(z, torch.tensor([1]), 1)
    assert z.tolist() == [[1.0, 2.0]]
    assert similarity.tolist() == [[-0.5, 0.5]]


# Figure 6 of the paper

NAMES = ["IQAI", "CGBI", "CGSPI"]
FIGURE_6 = {"logits": [4.700, 4.677, 2.705], "similarity": [0.023, 0.328, 0.342]}
PUBLISHED = {"CGBI": (0.042, 5e-4), "CGSPI": (0.006, 5e-4), "IQAI": (0.0002, 5e-5)}  # value, half a last digit


def test_figure_6_order_with_both_powers():
    z, similarity = torch.tensor([FIGURE_6["logits"]]), torch.tensor([FIGURE_6["similarity"]])
    assert NAMES[int(z.argmax())] == "IQAI"
    for power in (1.0, 2.0):
        order = core.rerank(z, similarity, power)[0].argsort(descending=True)
        assert [NAMES[i] for i in order] == ["CGBI", "CGSPI", "IQAI"]


def ratios_within_rounding(power: float) -> bool:
    z, similarity = torch.tensor([FIGURE_6["logits"]]), torch.tensor([FIGURE_6["similarity"]])
    scores = dict(zip(NAMES, core.rerank(z, similarity, power)[0].tolist(), strict=True))
    fits = []
    for below in ("CGSPI", "IQAI"):
        (top, top_half), (value, half) = PUBLISHED["CGBI"], PUBLISHED[below]
        fits.append(
            (top - top_half) / (value + half) < scores["CGBI"] / scores[below] < (top + top_half) / (value - half)
        )
    return all(fits)


def test_figure_6_ratios_fit_the_square_of_the_similarity_only():
    assert ratios_within_rounding(2.0)
    assert not ratios_within_rounding(1.0)


def test_figure_6_values_with_34_classes():
    # The figure leaves out 31 logits; taken as equal, 0.32 gives them the share of the softmax that 0.042 implies.
    z = torch.tensor([FIGURE_6["logits"] + [0.32] * 31])
    similarity = torch.tensor([FIGURE_6["similarity"] + [0.0] * 31])
    scores = core.rerank(z, similarity, 2.0)[0, :3].tolist()
    for name, score in zip(NAMES, scores, strict=True):
        value, half = PUBLISHED[name]
        assert score == pytest.approx(value, abs=half)


def test_figure_6_is_a_hard_sample_beside_a_clear_mistake():
    z = torch.tensor([FIGURE_6["logits"], [9.0, 1.0, 0.5]])
    variance = core.topk_variance(z, 3)
    assert variance[0].item() == pytest.approx(variance_of_top(np.array(FIGURE_6["logits"]), 3), rel=1e-6)
    assert core.is_hard(z, core.sigma2_mis(z, torch.tensor([1, 1]), 3), 3).tolist() == [True, False]


# Precision


@pytest.mark.parametrize("dtype", FLOATS)
def test_half_precision_is_computed_in_float32_and_float64_stays(dtype):
    generator = torch.Generator().manual_seed(0)
    z, similarity = (torch.randn(5, 6, generator=generator).to(dtype) for _ in range(2))
    y = torch.tensor([0, 1, 2, 3, 4])
    text, label, confused = (torch.randn(s, generator=generator).to(dtype) for s in ((5, 6), (5, 6), (5, 2, 6)))
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    candidates = torch.rand(5, 6, generator=generator) < 0.5
    for function, arguments in [
        (core.topk_variance, (z, 3)),
        (core.rerank, (z, similarity)),
        (core.rerank, (z, similarity, 2.0)),
        (core.label_similarity, (text, label)),
        (core.mnrl_loss, (text, label, confused, 20.0)),
        (core.ranking_loss, (similarity, y, 20.0)),
        (core.ranking_loss, (similarity, y, 20.0, candidates)),
    ]:
        found = function(*arguments)
        assert found.dtype == wide
        widened = [a.to(wide) if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in arguments]
        assert torch.equal(found, function(*widened))
    assert core.sigma2_mis(z, y, 3) == core.sigma2_mis(z.to(wide), y, 3)
    assert torch.equal(core.is_hard(z, 0.5, 3), core.is_hard(z.to(wide), 0.5, 3))
    assert torch.equal(core.confused_labels(z, y, 3), core.confused_labels(z.to(wide), y, 3))


def test_rerank_takes_the_wider_of_two_types():
    z, similarity = torch.zeros(1, 2, dtype=torch.float16), torch.ones(1, 2, dtype=torch.float64)
    assert core.rerank(z, similarity).dtype == torch.float64
    assert core.rerank(z, similarity.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_largest_numbers_of_a_type_neither_overflow_nor_turn_into_nan(dtype):
    largest = torch.finfo(dtype).max
    z = torch.tensor([[largest, -largest, 0.0]], dtype=dtype)
    assert core.rerank(z, torch.ones_like(z)).tolist() == [[1.0, 0.0, 0.0]]
    assert core.confused_labels(z, torch.tensor([0]), 2).tolist() == [[2, 1]]
    assert not core.topk_variance(z, 2).isnan().any()
    assert core.topk_variance(torch.tensor([[6e4, -6e4]], dtype=torch.float16), 2).item() == pytest.approx(
        6e4**2, rel=1e-2
    )


def test_autocast_does_not_touch_the_numbers():
    generator = torch.Generator().manual_seed(0)
    text, label, confused = (torch.randn(s, generator=generator) for s in ((5, 64), (5, 64), (5, 2, 64)))
    y = torch.arange(5)

    def everything() -> list[torch.Tensor]:
        similarity = core.label_similarity(text, label)
        return [
            similarity,
            core.mnrl_loss(text, label, confused, 20.0),
            core.ranking_loss(similarity, y, 20.0),
            core.rerank(10 * similarity, similarity, 2.0),
            core.topk_variance(10 * similarity, 3),
        ]

    plain = everything()
    with torch.autocast("cpu", torch.bfloat16):
        cast = everything()
    for one, other in zip(plain, cast, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


# Rows come in chunks, which nothing but time and memory may show


def in_chunks_of(numbers: int):
    return mock.patch.object(core, "CHUNK", numbers)


def detected_and_reranked(z: torch.Tensor, similarity: torch.Tensor, ks: range) -> list[bytes]:
    """Every bit of what detection and reranking return."""
    found = [core.rerank(z, similarity, power) for power in (0.5, 1.0, 2.0)]
    for k in ks:
        found += [core.topk_variance(z, k), core.is_hard(z, 0.5, k)]
    return [x.numpy().tobytes() for x in found]


@given(logit_rows(), st.integers(1, 40), st.sampled_from(FLOATS), st.integers(0, 2**32 - 1))
def test_chunks_of_any_size_change_no_bit(logits, numbers, dtype, seed):
    similarity = np.random.default_rng(seed).uniform(-1, 1, size=logits.shape)
    z, d = (x.to(dtype) for x in tensors(logits, similarity))
    ks = range(1, z.shape[1] + 1)
    whole = detected_and_reranked(z, d, ks)
    with in_chunks_of(numbers):
        assert detected_and_reranked(z, d, ks) == whole


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n", [0, 1, 39, 40, 41, 79, 80, 81, 200])
def test_around_the_end_of_a_chunk(n, dtype):
    generator = torch.Generator().manual_seed(n)
    z, d = (torch.randn(n, 151, generator=generator).to(dtype) for _ in range(2))
    whole = detected_and_reranked(z, d, range(1, 9))
    with in_chunks_of(151 * 40 + 7):
        assert detected_and_reranked(z, d, range(1, 9)) == whole
        variance = core.topk_variance(z, 3)
    expected = [variance_of_top(row, 3) for row in z.double().numpy()]
    np.testing.assert_allclose(variance, expected, rtol=1e-6)


def test_a_row_may_be_longer_than_a_chunk_and_hold_no_class():
    z = torch.tensor([[3.0, 1.0, 2.0], [0.0, 0.0, 0.0]])
    with in_chunks_of(1):
        assert core.topk_variance(z, 2).tolist() == [0.25, 0.0]
        assert core.rerank(z, torch.ones(2, 3)).argmax(-1).tolist() == [0, 0]
        assert core.rerank(torch.empty(2, 0), torch.empty(2, 0)).shape == (2, 0)


@given(logit_rows(), st.sampled_from(FLOATS))
def test_both_ways_to_the_largest_agree_to_the_bit(logits, dtype):
    (z,) = tensors(logits)
    z = z.to(dtype)
    for k in range(1, z.shape[1] + 1):
        with mock.patch.object(core, "FEW", 0):
            by_topk = core.topk_variance(z, k).numpy().tobytes()
        with mock.patch.object(core, "FEW", k):
            assert core.topk_variance(z, k).numpy().tobytes() == by_topk


@pytest.mark.parametrize("classes", [191, 192, 400])
def test_rows_wide_and_narrow_for_their_k(classes):
    z = torch.randn(50, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for k in (3, core.FEW, core.FEW + 1):
        np.testing.assert_allclose(core.topk_variance(z, k), [variance_of_top(r, k) for r in z.numpy()], rtol=1e-12)


def test_logits_may_lie_in_memory_in_any_order():
    generator = torch.Generator().manual_seed(0)
    z, d = torch.randn(2, 90, 9, generator=generator)
    expected = detected_and_reranked(z, d, range(1, 10))
    apart = torch.randn(90, 18, generator=generator)
    apart[:, ::2] = z
    with in_chunks_of(100):
        assert detected_and_reranked(apart[:, ::2], d.T.contiguous().T, range(1, 10)) == expected
        assert detected_and_reranked(z.T.contiguous().T, d, range(1, 10)) == expected
        assert core.topk_variance(z[:1].expand(90, 9), 3).unique().tolist() == core.topk_variance(z[:1], 3).tolist()


class Intermediates(TorchDispatchMode):
    """Keeps every tensor that an operation returns, so that no two of them ever share an address."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[torch.Tensor] = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        returned = operation(*args, **(kwargs or {}))
        self.kept += [x for x in tree_leaves(returned) if isinstance(x, torch.Tensor)]
        return returned

    def largest(self, *known: torch.Tensor) -> int:
        """Bytes of the largest memory that is neither an argument's nor the result's."""
        storages = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in self.kept}
        for x in known:
            storages.pop(x.untyped_storage().data_ptr(), None)
        return max(storages.values())

    def work(self) -> int:
        """Numbers that passed through all operations."""
        return sum(x.numel() for x in self.kept)


WITH_BOTH = {
    "topk_variance": lambda z, d: core.topk_variance(z, 3),
    "topk_variance of many": lambda z, d: core.topk_variance(z, 20),
    "is_hard": lambda z, d: core.is_hard(z, 1.0, 3),
    "rerank": core.rerank,
    "rerank with a power": lambda z, d: core.rerank(z, d, 2.0),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("function", WITH_BOTH.values(), ids=WITH_BOTH)
def test_no_intermediate_outgrows_a_chunk_and_time_grows_with_the_rows(function, dtype):
    work = {}
    for n in (640, 1280):
        z, d = torch.zeros(2, n, 64, dtype=dtype)
        with in_chunks_of(64 * 32), Intermediates() as seen:  # 32 of the rows at a time, 16 KB in float64
            result = function(z, d)
        assert seen.largest(z, d, result) <= max(8 * 64 * 32, 8 * n)  # a chunk, or one number for each row
        work[n] = seen.work()
    assert work[1280] <= 2 * work[640]


def test_an_error_too_is_found_without_a_copy():
    z = torch.zeros(640, 64)
    z[639, 63] = math.nan
    with in_chunks_of(64 * 32), Intermediates() as seen, pytest.raises(ValueError, match=r"^logits\[639, 63\] is nan"):
        core.topk_variance(z, 3)
    assert seen.largest(z) <= 2 * 4 * 640


def test_detection_and_reranking_pass_on_no_gradient():
    z, d = (torch.rand(4, 5, requires_grad=True) for _ in range(2))
    assert not core.topk_variance(z, 3).requires_grad
    assert not core.rerank(z, d, 2.0).requires_grad
    assert torch.equal(core.rerank(z, d), core.rerank(z.detach(), d.detach()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compares a GPU with the CPU")
def test_a_gpu_finds_the_same():
    z, d = torch.randn(2, 500, 151, generator=torch.Generator().manual_seed(0))
    for k in (3, 8):
        torch.testing.assert_close(core.topk_variance(z.cuda(), k).cpu(), core.topk_variance(z, k))
        assert core.is_hard(z.cuda(), 0.5, k).device.type == "cuda"
    for power in (1.0, 2.0):
        torch.testing.assert_close(core.rerank(z.cuda(), d.cuda(), power).cpu(), core.rerank(z, d, power))
    z[499, 150] = math.nan
    with pytest.raises(ValueError, match=r"^logits\[499, 150\] is nan"):
        core.rerank(z.cuda(), d.cuda())


# One sample, zero samples


def test_one_sample():
    z, y = torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([1])
    assert core.topk_variance(z, 2).tolist() == [0.25]
    assert core.sigma2_mis(z, y, 2) == 0.25
    assert core.is_hard(z, 0.3, 2).tolist() == [True]
    assert core.confused_labels(z, y, 2).tolist() == [[0, 2]]
    assert core.rerank(z, torch.ones(1, 3)).argmax(-1).tolist() == [0]
    assert core.mnrl_loss(z, z, -z[:, None], 1.0).item() == pytest.approx(math.log(1 + math.exp(-2)), rel=1e-6)


@pytest.mark.parametrize("dtype", FLOATS)
def test_zero_samples(dtype):
    z, y, e = torch.empty(0, 4, dtype=dtype), torch.empty(0, dtype=torch.int64), torch.empty(0, 5, dtype=dtype)
    assert core.topk_variance(z, 3).shape == (0,)
    assert core.sigma2_mis(z, y, 3) == 0.0
    assert core.mean_of_misclassified(torch.empty(0), z, y) == 0.0
    assert core.is_hard(z, 1.0, 3).shape == (0,)
    assert core.confused_labels(z, y, 3).shape == (0, 3)
    assert core.label_similarity(e, torch.ones(4, 5, dtype=dtype)).shape == (0, 4)
    assert core.rerank(z, z, 2.0).shape == (0, 4)
    assert core.mnrl_loss(e, e, torch.empty(0, 3, 5, dtype=dtype), 20.0).item() == 0.0
    assert core.ranking_loss(z, y, 20.0).item() == 0.0
    assert core.ranking_loss(z, y, 20.0, torch.empty(0, 4, dtype=torch.bool)).item() == 0.0


# Errors say where

Z, Y = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), torch.tensor([0, 1])
WITH_LOGITS = {
    "topk_variance": lambda z, k=2: core.topk_variance(z, k),
    "sigma2_mis": lambda z, k=2: core.sigma2_mis(z, Y, k),
    "is_hard": lambda z, k=2: core.is_hard(z, 1.0, k),
    "confused_labels": lambda z, k=2: core.confused_labels(z, Y, k),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("function", [*WITH_LOGITS.values(), lambda z: core.rerank(z, Z)], ids=[*WITH_LOGITS, "rerank"])
def test_a_logit_that_is_not_finite_is_named(function, value, dtype):
    z = Z.clone().to(dtype)
    z[1, 2] = value
    with pytest.raises(ValueError, match=rf"^logits\[1, 2\] is {value}; every value must be finite$"):
        function(z)


def test_the_first_value_that_is_not_finite_is_named():
    z = torch.tensor([[1.0, 2.0], [math.inf, 0.0], [math.nan, math.nan]])
    with pytest.raises(ValueError, match=r"logits\[1, 0\] is inf"):
        core.topk_variance(z, 2)


@given(st.integers(1, 40), st.integers(3, 70), st.sampled_from(FLOATS), st.data())
def test_the_first_value_that_is_not_finite_is_found_wherever_it_stands(n, classes, dtype, data):
    z = torch.zeros(n, classes, dtype=dtype)
    places = data.draw(st.lists(st.integers(0, n * classes - 1), min_size=1, max_size=3))
    for place in places:
        z.view(-1)[place] = data.draw(st.sampled_from([math.nan, math.inf, -math.inf]))
    row, column = divmod(min(places), classes)
    for call in (lambda: core.topk_variance(z, 2), lambda: core.rerank(z, torch.zeros_like(z))):
        with pytest.raises(ValueError, match=rf"^logits\[{row}, {column}\] is "):
            call()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_similarity_that_is_not_finite_is_named(value):
    similarity = torch.ones(2, 3)
    similarity[0, 1] = value
    with pytest.raises(ValueError, match=rf"^similarity\[0, 1\] is {value}; every value must be finite$"):
        core.rerank(Z, similarity, 2.0)


@pytest.mark.parametrize("k", [-1, 0, 4, 100])
@pytest.mark.parametrize("name", WITH_LOGITS)
def test_k_out_of_range_is_named_with_its_range(name, k):
    most = (
        r"2, the number of classes other than the true one" if name == "confused_labels" else "3, the number of classes"
    )
    with pytest.raises(ValueError, match=rf"^k is {k}; it must be at least 1 and at most {most}$"):
        WITH_LOGITS[name](Z, k)


def test_k_may_reach_the_number_of_classes():
    assert core.topk_variance(Z, 3).tolist() == pytest.approx([2 / 3, 2 / 3])
    assert core.confused_labels(Z, Y, 2).tolist() == [[2, 1], [2, 0]]
    with pytest.raises(ValueError, match="k is 3; it must be at least 1 and at most 2"):
        core.confused_labels(Z, Y, 3)


def test_k_out_of_range_is_an_error_for_zero_samples_too():
    with pytest.raises(ValueError, match="k is 5"):
        core.topk_variance(torch.empty(0, 4), 5)


@pytest.mark.parametrize("label", [-1, 3])
@pytest.mark.parametrize("function", [core.sigma2_mis, core.confused_labels])
def test_a_label_that_is_no_class_is_named(function, label):
    with pytest.raises(ValueError, match=rf"^labels\[1\] is {label}; with 3 classes it must be 0 to 2$"):
        function(Z, torch.tensor([0, label]), 2)


def test_a_threshold_of_nan_is_an_error():
    with pytest.raises(ValueError, match=r"^threshold is nan; it must be a number"):
        core.is_hard(Z, math.nan, 2)


@pytest.mark.parametrize("power", [-1.0, math.nan])
def test_a_power_below_zero_is_an_error(power):
    with pytest.raises(ValueError, match=rf"^power is {power}; it must be at least 0$"):
        core.rerank(Z, Z, power)


@pytest.mark.parametrize(
    "call",
    [
        lambda: core.topk_variance(torch.zeros(3), 2),
        lambda: core.topk_variance(torch.zeros(2, 3, dtype=torch.int64), 2),
        lambda: core.sigma2_mis(Z, torch.tensor([0]), 2),
        lambda: core.sigma2_mis(Z, torch.tensor([0, 1], dtype=torch.int32), 2),
        lambda: core.confused_labels(Z, torch.tensor([[0], [1]]), 2),
        lambda: core.rerank(Z, torch.zeros(2, 4)),
        lambda: core.label_similarity(torch.zeros(2, 4), torch.zeros(3, 5)),
        lambda: core.mnrl_loss(torch.zeros(2, 4), torch.zeros(2, 4), torch.zeros(2, 4), 1.0),
        lambda: core.mnrl_loss(torch.zeros(2, 4), torch.zeros(3, 4), torch.zeros(2, 3, 4), 1.0),
        lambda: core.ranking_loss(Z, Y, 1.0, torch.zeros(2, 3)),
    ],
)
def test_shapes_and_types_are_checked_while_the_tests_run(call):
    with pytest.raises(jaxtyping.TypeCheckError):
        call()
