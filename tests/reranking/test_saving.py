"""Components as plain data, and back, without importing or making what is none."""

import subprocess
import sys
from dataclasses import dataclass, field

import pytest
import seams
import torch

import lrsl
from lrsl.reranking import PUBLIC
from lrsl.reranking.saving import described, made_again


@pytest.mark.parametrize(
    ("component", "seam"),
    [
        (lrsl.TopKVariance(4), lrsl.Detector),
        (lrsl.Sigma2Mis(), lrsl.ThresholdRule),
        (lrsl.LabelSimilarity(), lrsl.View),
        (lrsl.Instances(neighbours=3), lrsl.View),
        (lrsl.ClassMean(), lrsl.View),
        (lrsl.Lexical(strength=1.0), lrsl.View),
        (lrsl.LinearProbe("somewhere", max_length=64), lrsl.View),
        (lrsl.CrossEncoder("somewhere", k=4), lrsl.View),
        (lrsl.LLMChoice("some-model", api_key_env="OTHER_API_KEY"), lrsl.View),
        (lrsl.SecondClassifier("seed 1"), lrsl.View),
        (lrsl.Paper(3.0), lrsl.Fusion),
        (lrsl.Paper("auto"), lrsl.Fusion),
        (lrsl.LogLinear(rows="all", hard_weight=2.0), lrsl.Fusion),
        (lrsl.AuthorsLLM(3.0, largest_to_one=True), lrsl.Fusion),
        (lrsl.AuthorsEncoder(), lrsl.Fusion),
        (lrsl.TargetAccuracy(0.99, confidence=0.8), lrsl.ThresholdRule),
        (lrsl.Budget(0.2), lrsl.ThresholdRule),
        (lrsl.BestGain(), lrsl.ThresholdRule),
        (lrsl.BestGain("accuracy", without_gain="mistakes"), lrsl.ThresholdRule),
        (lrsl.Fixed(0.5), lrsl.ThresholdRule),
        (lrsl.TopKProbabilityGap(2), lrsl.Detector),
        (seams.Margin(2.0), lrsl.Detector),
        (seams.WordOverlap(["the"]), lrsl.View),
    ],
)
def test_a_component_comes_back_from_plain_data(component, seam):
    again = made_again(described(component, seam), seam)
    assert type(again) is type(component)
    assert again.settings() == component.settings()


def test_a_view_of_this_package_says_what_it_costs():
    views = [made for name in PUBLIC if isinstance(made := getattr(lrsl, name), type) and lrsl.View in made.__mro__[1:]]
    assert len(views) >= 7
    assert [view.__name__ for view in views if len(view.cost.split()) < 3] == []


def test_what_is_of_this_package_has_a_short_name():
    assert described(lrsl.TopKVariance(4), lrsl.Detector) == {"kind": "lrsl.TopKVariance", "settings": {"k": 4}}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("antigravity.Anything", "antigravity.Anything is not imported; import antigravity"),
        ("subprocess.Popen", "subprocess.Popen is no lrsl.View"),
        ("sentence_transformers.SentenceTransformer", "is no lrsl.View"),
        ("lrsl.TopKVariance", "lrsl.TopKVariance is no lrsl.View"),
        ("lrsl.View", "lrsl.View is no lrsl.View; it must be a class that names it as its base"),
        ("lrsl.Nothing", "lrsl.Nothing is no lrsl.View"),
        ("seams.nothing", "seams.nothing is no lrsl.View"),
        ("print", "print is not imported"),
        (3, "3 is not imported"),
    ],
)
def test_what_is_not_imported_or_no_view_is_not_made(name, message):
    assert subprocess
    with pytest.raises(ValueError, match=message):
        made_again({"kind": name, "settings": {"args": ["false"]}}, lrsl.View)
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    "description", [None, [], "lrsl.Paper", {"kind": "lrsl.Paper"}, {"kind": "lrsl.Paper", "settings": 3}]
)
def test_a_damaged_description_is_one_sentence(description):
    with pytest.raises(ValueError, match="the saved Fusion has no kind and settings; fit and save it anew"):
        made_again(description, lrsl.Fusion)


def test_settings_that_do_not_fit_are_one_sentence():
    with pytest.raises(ValueError, match=r"lrsl\.Paper does not take the saved settings"):
        made_again({"kind": "lrsl.Paper", "settings": {"strength": 2}}, lrsl.Fusion)


@dataclass(frozen=True)
class OfTensors(lrsl.DetectorWithoutFit):
    """Settings that are no plain data."""

    weights: torch.Tensor = field(default_factory=lambda: torch.ones(2))


class Secretive(lrsl.DetectorWithoutFit):
    """Does not say its settings."""


class NoView:
    """Has no base."""


@pytest.mark.parametrize(
    ("component", "seam", "message"),
    [
        (OfTensors(), lrsl.Detector, "its settings are not plain data"),
        (Secretive(), lrsl.Detector, "Secretive does not say its settings; make it a dataclass"),
        (NoView(), lrsl.View, "NoView cannot be saved: it does not name lrsl.View as its base"),
    ],
)
def test_what_cannot_be_written_down_is_refused(component, seam, message):
    with pytest.raises(ValueError, match=message):
        described(component, seam)


def test_a_class_inside_a_function_cannot_be_found_again():
    @dataclass(frozen=True)
    class Local(lrsl.DetectorWithoutFit):
        """Cannot be imported."""

    with pytest.raises(ValueError, match="put it in a module"):
        described(Local(), lrsl.Detector)
