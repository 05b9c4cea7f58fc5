"""What a reranker says besides labels: cross-fitted figures, calibrated probabilities, candidates and explanations."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from test_reranker import LABELS, TEST, TRAIN, VAL

from lrsl import Lexical, Reranker, metrics
from lrsl.plugin import report
from lrsl.reranking.folds import folds
from lrsl.reranking.rule import recorded_scores


@pytest.fixture(scope="module", params=["fitted", "paper"])
def fitted(request, tiny_bert):
    names = [label.upper() for label in LABELS]
    reranker = Reranker(str(tiny_bert), LABELS, rule=request.param, names=names)
    train = (TRAIN.texts, TRAIN.labels, None)
    return reranker.fit(VAL.logits * 5, [names[label] for label in VAL.labels], VAL.texts, train=train, finetune=False)


def test_cross_fitted_figures_are_of_rules_that_have_not_seen_the_row(fitted):
    values, every = VAL.logits * 5, torch.arange(60)
    scores = [score(every, values) for score in fitted._scores(VAL.texts)]
    right, hard = torch.zeros(60), torch.zeros(60, dtype=torch.bool)
    for seen, new in folds(60, 10):
        rule = fitted.rule.fit(values[seen], VAL.labels[seen], [recorded_scores(score[seen]) for score in scores])
        made = rule.rerank(values[new], [recorded_scores(score[new]) for score in scores])
        right[new], hard[new] = (made.labels == VAL.labels[new]).float(), made.hard
    found = fitted.report_["cross_fitted"]
    assert found["rerank"]["accuracy"] == pytest.approx(right.mean().item())
    assert found["hard_fraction"] == pytest.approx(hard.double().mean().item())
    assert found["rerank"]["accuracy_hard"] == pytest.approx(right[hard].mean().item())
    gain = found["rerank"]["accuracy"] - found["origin"]["accuracy"]
    assert gain == pytest.approx(fitted.report_["verdict"]["gain"])


def test_probabilities_are_calibrated_and_rank_as_before(fitted):
    logits = TEST.logits * 5  # five times as sure as it should be
    found, plain = fitted.predict_proba(logits, TEST.texts), logits.softmax(-1)
    torch.testing.assert_close(found.sum(-1), torch.ones(50), rtol=0, atol=1e-5)
    assert torch.equal(found.argmax(-1), fitted.predict(logits, TEST.texts))
    likely, sure = (values.gather(1, TEST.labels[:, None]).log().mean() for values in (found, plain))
    assert likely > sure + 0.1
    errors = [metrics.expected_calibration_error(values, TEST.labels) for values in (found, plain)]
    assert errors[0] < errors[1]
    of_numpy = fitted.predict_proba(logits.double().numpy(), TEST.texts)
    assert of_numpy.dtype == np.float64
    np.testing.assert_allclose(of_numpy, found.numpy(), atol=1e-5)
    assert fitted.predict_proba(logits[:0], []).shape == (0, 4)


def test_candidates_have_both_scores_and_the_answer_first(fitted):
    logits = TEST.logits * 5
    before, after = logits.softmax(-1), fitted.rerank(logits, TEST.texts)
    answers, hard = fitted.predict(logits, TEST.texts), fitted.is_hard(logits)
    rows = fitted.candidates(logits, TEST.texts, k=2)
    assert len(rows) == 50
    for row, found in enumerate(rows):
        labels = [one.label for one in found]
        assert {*before[row].topk(2).indices.tolist(), *after[row].topk(2).indices.tolist()} == set(labels)
        assert labels[0] == answers[row]
        for one in found:
            assert one.name == LABELS[one.label].upper()
            assert one.before == before[row, one.label]
            assert one.after == after[row, one.label]
            assert hard[row] or one.before == pytest.approx(one.after)
    assert [len(found) for found in fitted.candidates(logits[:2], TEST.texts[:2], k=4)] == [4, 4]
    with pytest.raises(ValueError, match="k is 5; with 4 classes it must be 1 to 4"):
        fitted.candidates(logits, TEST.texts, k=5)


def test_an_explanation_says_what_each_view_makes_of_it(fitted):
    logits = TEST.logits * 5
    hard = int(fitted.is_hard(logits).nonzero()[0])
    found = fitted.explain(logits, TEST.texts)
    shown = found[hard]
    assert [one.hard for one in found] == fitted.is_hard(logits).tolist()
    assert list(shown.views) == [type(view).__name__ for view in fitted.views]
    scores = [score(torch.tensor([hard]), logits[[hard]]) for score in fitted._scores(TEST.texts)]
    for name, score in zip(shown.views, scores, strict=True):
        expected = [score[0, one.label].item() for one in shown.candidates]
        assert shown.views[name] == pytest.approx(expected, abs=1e-5)
    assert shown.hardness < shown.threshold
    text = str(shown)
    assert f"answer: {shown.answer}  (hard, " in text
    assert len(text.splitlines()) == 3 + len(shown.candidates)
    assert fitted.explain(logits[:0], []) == []


def test_the_report_is_shown_in_a_few_lines(fitted):
    lines = list(report.sentences(fitted.report_, fitted.cost_, 4))
    assert lines[0].startswith("60 held-out rows of 4 labels; ")
    assert fitted.report_["verdict"]["reason"] in lines
    assert lines[-1].startswith("cost here: ")
    origin = fitted.report_["cross_fitted"]["origin"]["accuracy"]
    assert any(f"{origin:.2%}" in line for line in lines if "before" in line)


def test_the_cost_is_that_of_hard_rows(fitted):
    cost, share = fitted.cost_, fitted.report_["hard_fraction"]
    assert cost["seconds_per_1000"] == pytest.approx(cost["seconds_per_1000_hard"] * share)
    views = cost["views"]
    assert sum(view["seconds_per_1000_hard"] for view in views.values()) == pytest.approx(cost["seconds_per_1000_hard"])
    assert views["LabelSimilarity"]["cost"].startswith("one pass of the text embedding")


def test_arrow_columns_are_texts(fitted):
    expected = fitted.predict(TEST.logits.numpy(), TEST.texts)
    for column in (pa.array(TEST.texts), pa.chunked_array([TEST.texts[:20], TEST.texts[20:]])):
        assert np.array_equal(fitted.predict(TEST.logits.numpy(), column), expected)
        assert np.array_equal(fitted.predict(TEST.logits.numpy(), column.dictionary_encode()), expected)


def test_names_that_make_no_sense_are_refused(tiny_bert):
    for names, message in (
        (["a", "b"], "there are 2 names for 4 label texts"),
        (["a", "b", "a", "c"], "the name 'a' stands for two classes"),
        ("abcd", "names are a single string"),
    ):
        with pytest.raises(ValueError, match=message):
            Reranker(str(tiny_bert), LABELS, names=names)
    named = Reranker(str(tiny_bert), LABELS, names=list("abcd"))
    with pytest.raises(ValueError, match=r"labels\[0\] is 'loan', which is none of the names"):
        named.fit(VAL.logits, [LABELS[label] for label in VAL.labels], VAL.texts)


def test_without_lightning_hydra_and_wandb_another_process_says_the_same_to_the_last_bit(fitted, tmp_path, warm):
    fitted.save_pretrained(tmp_path / "mine")
    np.save(tmp_path / "logits.npy", TEST.logits.numpy())
    (tmp_path / "texts.json").write_text(json.dumps(TEST.texts))
    program = (
        "import sys\n"
        "for name in ('pytorch_lightning', 'lightning', 'hydra', 'omegaconf', 'wandb'):\n"
        "    for known in [known for known in sys.modules if known.split('.')[0] == name]: del sys.modules[known]\n"
        "    sys.modules[name] = None\n"
        "import json, numpy as np\n"
        "from lrsl import Reranker\n"
        "again = Reranker.from_pretrained('mine')\n"
        "logits, texts = np.load('logits.npy'), json.load(open('texts.json'))\n"
        "made = {name: getattr(again, name)(logits, texts) for name in ('rerank', 'predict', 'predict_proba')}\n"
        "np.savez('made.npz', hard=again.is_hard(logits), **made)\n"
        "print(again.candidates(logits, texts)[0][0].name, again.names[0])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = warm("-c", program, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "made.npz") as made:
        logits = TEST.logits.numpy()
        assert np.array_equal(made["hard"], fitted.is_hard(logits))
        for name in ("rerank", "predict", "predict_proba"):
            assert np.array_equal(made[name], getattr(fitted, name)(logits, TEST.texts))
    assert done.stdout.split() == [fitted.candidates(logits, TEST.texts)[0][0].name, "CARD"]


def test_a_reranker_saved_before_probabilities_were_says_so(fitted, tmp_path):
    from safetensors.torch import load_file, save_file

    fitted.save_pretrained(tmp_path)
    learnt = load_file(tmp_path / "learnt.safetensors")
    kept = {name: tensor for name, tensor in learnt.items() if not name.startswith("calibration.")}
    assert len(kept) == len(learnt) - 2
    assert all(math.isfinite(learnt[f"calibration.{name}"]) for name in ("easy", "hard"))
    save_file(kept, tmp_path / "learnt.safetensors")
    with pytest.raises(RuntimeError, match="saved without what probabilities are calibrated with"):
        Reranker.from_pretrained(tmp_path).predict_proba(TEST.logits, TEST.texts)


def test_a_few_rows_without_a_mistake_do_not_make_it_sure():
    """Labels are drawn from what the classifier says, so that its probabilities are right as they are."""
    generator = torch.Generator().manual_seed(0)
    logits = 6 * torch.eye(4)[torch.randint(4, (4050,), generator=generator)]
    labels = logits.softmax(-1).multinomial(1, generator=generator)[:, 0]
    few = slice(0, 50)
    labels[few] = logits[few].argmax(-1)
    reranker = Reranker(None, LABELS, views=[Lexical()], deploy="auto")
    reranker.fit(logits[few], labels[few], ["a"] * 50, train=(LABELS, [0, 1, 2, 3], None))
    found = reranker.predict_proba(logits[50:], ["a"] * 4000)
    told = [-values.gather(1, labels[50:, None]).log().mean() for values in (found, logits[50:].softmax(-1))]
    assert told[0] < 1.5 * told[1]


def test_an_answer_among_many_equals_is_among_its_candidates():
    texts = [label for label in LABELS for _ in range(5)]
    reranker = Reranker(None, LABELS, k=2, views=[Lexical()], deploy="auto")
    reranker.fit(VAL.logits, VAL.labels, VAL.texts, train=(texts, [n // 5 for n in range(20)], None))
    equal = np.zeros((1, 4))
    (answer,) = reranker.answers(equal, ["a"])
    assert answer.name in [one.name for one in answer.candidates]
    assert reranker.explain(equal, ["a"])[0].answer == answer.name
