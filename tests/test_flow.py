"""The picture of the flow: it is what its script draws, and its arithmetic is the paper's."""

import runpy
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from lrsl import core

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def drawing():
    return runpy.run_path(str(DOCS / "draw_flow.py"))


def test_the_picture_is_what_its_script_draws(drawing):
    drawn = drawing["svg"]()
    assert (DOCS / "flow.svg").read_text(encoding="utf-8") == drawn, "run python docs/draw_flow.py"
    ElementTree.fromstring(drawn)


def test_the_numbers_in_the_picture_follow_from_the_equations(drawing):
    logits, similarity = torch.tensor([drawing["LOGITS"]]), torch.tensor([drawing["SIMILARITY"]])
    assert core.is_hard(logits, drawing["THRESHOLD"], 3).all()
    scores = core.rerank(logits, similarity)
    assert scores[0].tolist() == pytest.approx(drawing["reranked"]())
    assert drawing["LABELS"][int(scores.argmax())] == "card arrival" != drawing["LABELS"][int(logits.argmax())]
