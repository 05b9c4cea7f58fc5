"""The card of a saved reranker: its figures are those of the report, and nothing in a label text is read as markup."""

import re

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from test_reranker import LABELS, TEST, TRAIN, VAL

from lrsl import Lexical, Reranker
from lrsl.plugin import card

HOSTILE = [
    "card\n```\n<script>alert(1)</script>",
    "---\nlibrary_name: evil\n---",
    "| a | [b](javascript:c) ````",
    "\x1b[31m# cash\u202e",
]


@pytest.fixture(scope="module", params=["fitted", "paper"])
def fitted(request, tiny_bert):
    reranker = Reranker(str(tiny_bert), LABELS, rule=request.param, names=[label.upper() for label in LABELS])
    train = (TRAIN.texts, TRAIN.labels, None)
    return reranker.fit(VAL.logits, VAL.labels, VAL.texts, train=train, finetune=False)


def metadata(text):
    return yaml.safe_load(re.fullmatch(r"---\n(.*?)^---\n.*", text, flags=re.MULTILINE | re.DOTALL)[1])


def outside_of_blocks(text):
    """Return the lines that Markdown reads as such, by the rule on fences of CommonMark."""
    lines, fence = [], None
    for line in text.split("\n"):
        mark = re.match(r" {0,3}(`{3,})([^`]*)$", line)
        if fence is None and mark:
            fence = mark[1]
        elif fence is not None and mark and len(mark[1]) >= len(fence) and not mark[2].strip():
            fence = None
        elif fence is None:
            lines.append(line)
    assert fence is None
    return lines


def test_its_figures_are_those_of_the_report(fitted):
    text = fitted.card()
    found, verdict = fitted.report_["cross_fitted"], fitted.report_["verdict"]
    for name, heading in (("origin", "classifier alone"), ("rerank", "reranked")):
        shown = [f"{found[name][part]:.2%}" for part in ("accuracy", "accuracy_hard", "accuracy_easy")]
        assert f"| {heading} | {' | '.join(shown)} |" in text
    gain, low, high = (f"{100 * verdict[key]:+.2f}" for key in ("gain", "gain_low", "gain_high"))
    assert f"gain in accuracy: {gain} points (90 % interval {low} to {high})" in text
    assert f"hard: {found['hard_fraction']:.2%} of the rows" in text
    assert f"cost: {fitted.cost_['seconds_per_1000']:.2g} s per 1,000 texts" in text
    assert f"verdict: {'it pays' if verdict['deploy'] else 'it does not pay'}" in text
    assert ("and hard texts are reranked" in text) == fitted.is_on
    assert verdict["reason"] in text.split("\n")
    assert "Measured on 60 held-out rows" in text
    assert ("the views learnt from 160 training rows" in text) == (fitted.report_["n_train"] > 0)
    assert f"{verdict['n_hard']} of the held-out rows are hard, which are few" in text


def test_it_says_what_is_in_the_files(fitted):
    text = fitted.card()
    for column, label in enumerate(LABELS):
        assert f'{column}  "{label.upper()}"  "{label}"' in text.split("\n")
    joined = any(isinstance(view, Lexical) for view in fitted.views)
    assert ("words and pairs of words of the training texts" in text) == joined
    assert ("vectors of the training texts" in text) == joined
    assert "is as it was, off the shelf" in text
    assert f"detector   lrsl.{type(fitted.rule.detector).__name__}" in text
    assert metadata(text) == card.METADATA


def test_it_is_saved_and_the_same_after_loading(fitted, tmp_path):
    fitted.save_pretrained(tmp_path)
    written = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert written == fitted.card() == Reranker.from_pretrained(tmp_path).card()


def test_its_example_runs(fitted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fitted.save_pretrained("my-reranker")
    (example,) = re.findall(r"^```python\n(.*?)^```", fitted.card(), flags=re.MULTILINE | re.DOTALL)
    names = {"logits": TEST.logits, "texts": TEST.texts}
    exec(compile(example, "README.md", "exec"), names)
    assert torch.equal(names["labels"], fitted.predict(TEST.logits, TEST.texts))


def test_nothing_in_label_texts_and_names_is_read_as_markup():
    reranker = Reranker(None, HOSTILE, views=[Lexical()], rule="fitted", names=HOSTILE[::-1])
    reranker.fit(VAL.logits, VAL.labels, VAL.texts, train=(TRAIN.texts, TRAIN.labels, None))
    text = reranker.card()
    assert metadata(text) == card.METADATA
    read = "\n".join(outside_of_blocks(text))
    assert not any(part in read for part in ("script", "javascript", "evil", "cash"))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert text.count("alert(1)") == 2


def said_of(texts):
    """What reranker.json says where each word in it is one of some texts."""
    component = {"kind": f"lrsl.{texts[0]}", "settings": {"key": texts[1]}}
    return {
        "label_texts": texts,
        "names": texts[::-1],
        "k": 2,
        "sigma2_mis": 0.5,
        "rule": {"views": [], **dict.fromkeys(("detector", "threshold", "fusion"), component)},
        "deploy": texts[0],
        "on_hard": {"action": "rerank", "coverage": 0.9},
        "report": {"n": texts[0], "verdict": {"gain": texts[1], "reason": texts[0]}, "cross_fitted": None},
        "cost": {"seconds_per_1000": texts[1]},
    }


@given(st.lists(st.text(min_size=1), min_size=2, max_size=5))
def test_whatever_stands_in_a_folder_the_lines_around_it_stay(texts):
    made, harmless = (card.text(said_of(words), embeds=False, where="me/mine") for words in (texts, ["a"] * len(texts)))
    read = outside_of_blocks(made)
    assert read == outside_of_blocks(harmless)
    assert f"# Reranker for {len(texts)} labels" in read
    assert metadata(made) == card.METADATA


def test_where_the_verdict_is_off_it_says_whose_the_answers_are():
    kinds = {"views": [Lexical()], "rule": "fitted"}
    perfect = 9 * torch.eye(4)[VAL.labels]
    for deploy, said in (("auto", "keep the answer of the classifier"), ("always", "are reranked")):
        reranker = Reranker(None, LABELS, deploy=deploy, **kinds)
        reranker.fit(perfect, VAL.labels, VAL.texts, train=(TRAIN.texts, TRAIN.labels, None))
        assert f"- verdict: it does not pay, and hard texts {said}" in reranker.card().split("\n")


def test_what_was_never_fitted_has_no_card():
    with pytest.raises(RuntimeError, match="not fitted; call fit"):
        Reranker(None, LABELS, views=[Lexical()]).card()
