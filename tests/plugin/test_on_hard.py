"""What a reranker does with hard rows besides reranking them."""

import json

import numpy as np
import pytest
import torch
from test_fitted import TEST, VAL, logits
from tiny import LABELS

from lrsl import LabelSimilarity, Lexical, Reranker

HELD_OUT = logits(VAL[0], VAL[1], 0)
ASKED = logits(TEST[0], TEST[1], 1)


def fitted(tiny_bert, **settings):
    return Reranker(str(tiny_bert), LABELS, **settings).fit(HELD_OUT, VAL[1], VAL[0])


@pytest.fixture(scope="module")
def plain(tiny_bert):
    return fitted(tiny_bert)


def test_abstaining_leaves_easy_rows_alone_and_asks_no_view(tiny_bert, plain, monkeypatch):
    reranker = fitted(tiny_bert, on_hard="abstain")
    monkeypatch.setattr(reranker, "_scores", None)
    hard = plain.is_hard(ASKED)
    answers = reranker.predict(ASKED, TEST[0])
    assert 0 < hard.sum() < len(hard)
    assert (answers[hard] == -1).all()
    assert torch.equal(answers[~hard], plain.predict(ASKED, TEST[0])[~hard])
    assert isinstance(reranker.predict(ASKED.numpy(), TEST[0]), np.ndarray)


def test_deferring_asks_about_hard_rows_alone_with_candidates_and_scores(tiny_bert, plain):
    asked = []

    def ask(text, candidates, scores):
        asked.append((text, list(candidates), list(scores)))
        return None if len(asked) == 1 else candidates[1]

    answers = fitted(tiny_bert, on_hard="defer", defer=ask).predict(ASKED, TEST[0])
    hard, scores = plain.is_hard(ASKED), plain.rerank(ASKED, TEST[0])
    rows = hard.nonzero().flatten().tolist()
    assert [text for text, _, _ in asked] == [TEST[0][row] for row in rows]
    for place, row in enumerate(rows):
        best = scores[row].topk(3)
        assert asked[place][1] == [LABELS[label] for label in best.indices]
        assert asked[place][2] == pytest.approx(best.values.tolist())
        assert answers[row] == (-1 if place == 0 else best.indices[1])
    assert torch.equal(answers[~hard], ASKED.argmax(-1)[~hard])


@pytest.mark.parametrize("deploy", ["always", "auto"])
def test_sets_are_there_whatever_is_done_with_hard_rows(tiny_bert, deploy, tmp_path):
    pytest.importorskip("crepes")
    wrong = np.roll(LABELS, 1).tolist()  # so that auto is off
    made = {}
    for action in ("rerank", "set"):
        reranker = Reranker(str(tiny_bert), wrong, deploy=deploy, on_hard=action, coverage=0.8)
        made[action] = reranker.fit(HELD_OUT, VAL[1], VAL[0])
    assert reranker.is_on == (deploy == "always")
    sets = made["rerank"].predict_set(ASKED, TEST[0])
    hard = reranker.is_hard(ASKED)
    assert sets.dtype == torch.bool
    assert (sets[~hard].sum(-1) == 1).all()
    assert (sets[hard].sum(-1) > 1).any()
    covered = sets[torch.arange(len(sets)), torch.tensor(TEST[1])][hard]
    assert covered.double().mean() > 0.6
    assert torch.equal(made["set"].predict_set(ASKED, TEST[0]), sets)
    answers = made["set"].predict(ASKED, TEST[0])
    assert torch.equal(answers == -1, sets.sum(-1) > 1)
    assert torch.equal(answers[answers >= 0], sets.int().argmax(-1)[answers >= 0])
    made["set"].save_pretrained(tmp_path)
    again = Reranker.from_pretrained(tmp_path)
    assert (again.on_hard, again.coverage) == ("set", 0.8)
    assert torch.equal(again.predict_set(ASKED, TEST[0]), sets)


def test_with_few_hard_rows_the_sets_are_all_labels(tiny_bert):
    pytest.importorskip("crepes")
    reranker = fitted(tiny_bert, coverage=0.999)
    assert reranker.predict_set(ASKED, TEST[0])[reranker.is_hard(ASKED)].all()


def test_a_function_is_never_saved_and_has_to_be_given_again(tiny_bert, tmp_path):
    reranker = fitted(tiny_bert, on_hard="defer", defer=lambda text, candidates, scores: "loan")
    reranker.save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match=r"a function is never saved; give it again, as in from_pretrained\(folder, de"
    ):
        Reranker.from_pretrained(tmp_path)
    again = Reranker.from_pretrained(tmp_path, defer=lambda text, candidates, scores: "loan")
    assert torch.equal(again.predict(ASKED, TEST[0]), reranker.predict(ASKED, TEST[0]))


def test_what_was_saved_before_there_were_sets_still_reranks(plain, tmp_path):
    plain.save_pretrained(tmp_path)
    path = tmp_path / "reranker.json"
    saved = json.loads(path.read_text())
    del saved["on_hard"]
    path.write_text(json.dumps(saved))
    (tmp_path / "learnt.safetensors").unlink()  # all that this rule has learnt is for sets
    again = Reranker.from_pretrained(tmp_path)
    assert torch.equal(again.predict(ASKED, TEST[0]), plain.predict(ASKED, TEST[0]))
    with pytest.raises(RuntimeError, match="saved without what sets of labels are made with"):
        again.predict_set(ASKED, TEST[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"on_hard": "ask"}, r"on_hard is 'ask'; it must be one of rerank, abstain, set, defer"),
        ({"coverage": 1.0}, r"coverage is 1.0; it must be above 0 and below 1"),
        ({"on_hard": "defer"}, r"there is nobody to ask; give defer"),
        ({"on_hard": "abstain", "defer": print}, r"defer has no effect with on_hard='abstain'"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Reranker(None, LABELS, views=[Lexical(), LabelSimilarity()], **settings)
