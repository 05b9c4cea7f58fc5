import pytest
import torch

from lrsl.reranking.view import Given
from lrsl.reranking.view.second_classifier import SecondClassifier

LOGITS = {"one": [2.0, 0.0, 1.0], "two": [0.0, 3.0, 0.0]}


def second(texts):
    return torch.tensor([LOGITS[text] for text in texts])


def test_scores_are_the_other_classifiers_log_probabilities():
    fitted = SecondClassifier().fit(Given(["a", "b", "c"], second=second))
    torch.testing.assert_close(fitted(["two", "one"]), second(["two", "one"]).log_softmax(-1))
    assert fitted([]).shape == (0, 3)
    assert fitted.learnt() == {}


def test_without_the_other_classifier_it_says_so_and_names_itself():
    for make in (SecondClassifier("seed 1").fit, lambda given: SecondClassifier("seed 1").restore({}, given)):
        with pytest.raises(RuntimeError, match=r"the view 'seed 1' needs another classifier, and Given\.second"):
            make(Given(["a", "b", "c"]))


def test_logits_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"got logits of shape \(1, 3\) for 1 texts; it must be \(1, 2\)"):
        SecondClassifier().fit(Given(["a", "b"], second=second))(["one"])


def test_lists_are_logits_and_probabilities_are_not():
    given = Given(["a", "b", "c"], second=lambda texts: second(texts).tolist())
    found = SecondClassifier().fit(given)(["two", "one"])
    torch.testing.assert_close(found, second(["two", "one"]).double().log_softmax(-1))
    given = Given(["a", "b", "c"], second=lambda texts: second(texts).softmax(-1))
    with pytest.raises(ValueError, match=r"^logits of the view 'seed 1' are probabilities"):
        SecondClassifier("seed 1").fit(given)(["two", "one"])
