"""A function from texts to logits, and a pipeline of transformers, each with its reranker as one."""

import numpy as np
import pytest
import torch
from test_reranker import LABELS, TEST, TRAIN, VAL
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from lrsl import Lexical, RerankedFunction, RerankedPipeline, Reranker, from_function
from lrsl.errors import InputError

NAMES = [f"{label}_x" for label in LABELS]
KNOWN = {text: row for part in (VAL, TEST, TRAIN) for text, row in zip(part.texts, part.logits.tolist(), strict=True)}
ASKED = []


def ask(texts):
    """An endpoint that knows a few texts."""
    ASKED.append(len(texts))
    return [KNOWN[text] for text in texts]


@pytest.fixture(scope="module")
def fitted(tiny_bert):
    reranked = from_function(ask, str(tiny_bert), LABELS, at_once=16, rule="fitted", names=NAMES)
    train = (TRAIN.texts, [NAMES[label] for label in TRAIN.labels])
    return reranked.fit(VAL.texts, [NAMES[label] for label in VAL.labels], train, finetune=False)


def test_a_function_and_its_reranker_are_one(fitted):
    ASKED.clear()
    logits = np.array([KNOWN[text] for text in TEST.texts])
    assert np.array_equal(fitted.logits(TEST.texts), logits)
    assert ASKED == [16, 16, 16, 2]
    reranker = fitted.reranker
    assert [type(view).__name__ for view in reranker.views] == [
        "LabelSimilarity",
        "Instances",
        "Lexical",
        "LinearProbe",
    ]
    assert fitted.predict(TEST.texts) == [NAMES[label] for label in reranker.predict(logits, TEST.texts)]
    assert np.array_equal(fitted.predict_proba(TEST.texts), reranker.predict_proba(logits, TEST.texts))
    assert fitted.answers(TEST.texts, k=2) == reranker.answers(logits, TEST.texts, 2)
    assert [str(one) for one in fitted.explain(TEST.texts)] == [
        str(one) for one in reranker.explain(logits, TEST.texts)
    ]
    assert fitted.predict([]) == []


def test_it_comes_back_with_the_function(fitted, tmp_path):
    fitted.reranker.save_pretrained(tmp_path)
    again = RerankedFunction(ask, Reranker.from_pretrained(tmp_path))
    assert np.array_equal(again.predict_proba(TEST.texts), fitted.predict_proba(TEST.texts))


def test_no_answer_is_none(tiny_bert):
    reranked = from_function(ask, str(tiny_bert), LABELS, on_hard="abstain").fit(VAL.texts, VAL.labels)
    found = reranked.predict(TEST.texts)
    assert [one is None for one in found] == reranked.reranker.is_hard(TEST.logits).tolist()
    assert None in found


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda texts: [[1.0, 2.0, 3.0]] * len(texts), r"what the function gives have shape \(60, 3\); with 4 label"),
        (lambda texts: [[1.0, 2.0, 3.0, 4.0]], "the function gives 1 rows of logits for 60 texts"),
        (lambda texts: [[0.1, 0.2, 0.3, 0.4]] * len(texts), r"are probabilities: .* np\.log"),
        (lambda texts: [[-1.0, 2.0, 3.0, float("nan")]] * len(texts), r"\[0, 3\] is nan"),
    ],
)
def test_what_a_function_gives_is_checked(function, message):
    with pytest.raises(ValueError, match=message):
        from_function(function, None, LABELS, views=[Lexical()]).fit(VAL.texts, VAL.labels)
    with pytest.raises(ValueError, match="at_once is 0; it must be at least 1"):
        from_function(function, None, LABELS, views=[Lexical()], at_once=0)


ORDER = {0: "rate_of_exchange", 1: "card", 2: "loan", 3: "cash"}


@pytest.fixture(scope="module")
def classify(tiny_bert):
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert, num_labels=4, id2label=ORDER)
    torch.nn.init.normal_(model.classifier.weight, std=2.0)
    return pipeline("text-classification", model=model.eval(), tokenizer=AutoTokenizer.from_pretrained(tiny_bert))


@pytest.fixture(scope="module")
def reranked(classify, tiny_bert):
    texts = {name: name.partition("_")[0] for name in ORDER.values()}
    return RerankedPipeline(classify, str(tiny_bert), texts, deploy="always")


def test_logits_of_a_pipeline_are_those_of_its_model(reranked, classify):
    texts = [*TEST.texts, " ".join(["card0"] * 100)]
    tokens = classify.tokenizer(texts, truncation=True, max_length=24, padding=True, return_tensors="pt")
    with torch.inference_mode():
        expected = classify.model(**tokens).logits
    np.testing.assert_allclose(reranked.logits(texts), expected.numpy(), atol=1e-5)
    assert reranked.names == list(ORDER.values())
    assert reranked.reranker.label_texts == ["rate", "card", "loan", "cash"]


def test_it_answers_as_a_pipeline_does(reranked, classify):
    names = ["rate_of_exchange" if LABELS[label] == "rate" else LABELS[label] for label in VAL.labels]
    reranked.fit(VAL.texts, names)
    alone, many = reranked(TEST.texts[0]), reranked(TEST.texts, top_k=None)
    assert alone[0]["label"] == many[0][0]["label"]
    assert alone[0]["score"] == pytest.approx(many[0][0]["score"])
    assert alone[0].keys() == classify(TEST.texts[0])[0].keys()
    probabilities = reranked.predict_proba(TEST.texts)
    for row, found in enumerate(many):
        assert [one["score"] for one in found] == sorted(probabilities[row].tolist(), reverse=True)
        assert {one["label"]: one["score"] for one in found} == dict(
            zip(ORDER.values(), probabilities[row].tolist(), strict=True)
        )


def test_a_reranker_in_another_order_is_refused(classify, tiny_bert):
    with pytest.raises(InputError, match="the classifier calls column 0 of its logits 'rate_of_exchange', and label_"):
        RerankedPipeline(classify, Reranker(str(tiny_bert), sorted(name.replace("_", " ") for name in ORDER.values())))
    with pytest.raises(ValueError, match="label_texts have none for the label 'rate_of_exchange'"):
        RerankedPipeline(classify, str(tiny_bert), {"card": "card"})
    same = Reranker(str(tiny_bert), ["rate of exchange", "card", "loan", "cash"])
    with pytest.raises(ValueError, match="have no effect with a reranker, which has its own"):
        RerankedPipeline(classify, same, k=2)
    assert RerankedPipeline(classify, same).reranker is same
