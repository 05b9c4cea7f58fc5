"""What a configuration or a saved reranker names is made only where it fits, and texts go only where they may."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import seams
import tiny
import torch

import lrsl
from lrsl.config.schema import Config, RerankerConfig
from lrsl.errors import InputError
from lrsl.run.on_hard import deferral
from lrsl.run.rules import answers_hard_rows, component, papers_rule

TEXTS, GOLD = tiny.samples(60)
NOISE = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
LOGITS = NOISE + torch.nn.functional.one_hot(torch.tensor(GOLD), 4)


def configured(**reranker):
    return Config(reranker=RerankerConfig(**reranker))


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A module whose classes are of a seam, or only look like it, and a file that shows which were made."""
    made = tmp_path / "made"
    (tmp_path / "planted_here.py").write_text(
        f"""
import pathlib, subprocess, lrsl
MADE = pathlib.Path({str(made)!r})
class LooksLikeIt:
    def __init__(self, **settings):
        MADE.touch()
    def fit(self, *given):
        return self
    def __call__(self, *given):
        MADE.touch()
def run(command, timeout=None, check=False):
    MADE.touch()
class Runs:
    def __init__(self, command="touch"):
        MADE.touch()
class Takes:
    def __call__(self, path, mode, scores):
        MADE.touch()
def ask(text, candidates, scores, *, patience=3):
    return candidates[0]
class Knows:
    def __call__(self, _text, candidates, scores):
        return candidates[0]
"""
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield made
    sys.modules.pop("planted_here", None)


SEAMS = {
    "detector": lrsl.Detector,
    "threshold": lrsl.ThresholdRule,
    "view": lrsl.View,
    "fusion": lrsl.Fusion,
}


@pytest.mark.parametrize("key", SEAMS)
@pytest.mark.parametrize(
    "name",
    ["numpy.testing.rundocs", "planted_here.LooksLikeIt", "planted_here.subprocess.Popen", "torch.nn.Linear"],
)
def test_what_is_not_of_the_seam_is_not_made(planted, key, name):
    with pytest.raises(InputError, match=rf"reranker\.{key}\._target_={name} is no lrsl\."):
        component(SEAMS[key], key, {"_target_": name, "filename": "x", "args": ["touch"]})
    assert not planted.exists()


def named(key, settings):
    if key == "defer":
        return deferral(configured(on_hard="defer", defer=settings))
    return component(SEAMS[key], key, settings)


@pytest.mark.parametrize("name", ["antigravity.fly", "os.system", "subprocess.Popen", "builtins.exec", "shutil:rmtree"])
@pytest.mark.parametrize("key", [*SEAMS, "defer"])
def test_what_is_of_python_itself_is_not_even_imported(key, name):
    imported = {*sys.modules}
    settings = {"_target_": name}
    with pytest.raises(InputError, match=r"is of Python itself"):
        named(key, settings)
    assert "antigravity" not in {*sys.modules} - imported


@pytest.mark.parametrize(
    "name", ["", "seams", "seams.", "a b.c", "../seams.Margin", "seams.__main__.x", "x" * 5000, "a.\0", "a..b"]
)
def test_what_is_no_name_is_a_sentence(name):
    with pytest.raises(InputError, match=r"names nothing in a module|cannot be imported") as caught:
        component(lrsl.View, "view", {"_target_": name})
    assert len(str(caught.value)) < 400


def test_a_module_that_ends_the_program_is_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "ends_here.py").write_text("raise SystemExit(0)")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=r"ends_here\.View cannot be imported"):
        component(lrsl.View, "view", {"_target_": "ends_here.View"})


@pytest.mark.parametrize(
    "name",
    [
        *("numpy.testing.rundocs", "planted_here.run", "planted_here.Runs", "planted_here.Takes"),
        *("planted_here.subprocess.run", "planted_here.LooksLikeIt", "torch.load", "pytest.main"),
    ],
)
def test_hard_texts_are_given_to_nothing_that_does_not_take_them(planted, name):
    with pytest.raises(InputError, match=r"defer\._target_=\S+ cannot be called; name a function of text, candidates"):
        deferral(configured(on_hard="defer", defer={"_target_": name}))
    assert not planted.exists()


@pytest.mark.parametrize("name", ["planted_here.ask", "planted_here.Knows", "lrsl.Endpoint"])
def test_what_takes_them_is_made(planted, name):
    more = {"url": "https://example.org/ask"} if name == "lrsl.Endpoint" else {}
    if more:
        assert isinstance(deferral(configured(on_hard="defer", defer=more)), lrsl.Endpoint)
    else:
        made = deferral(configured(on_hard="defer", defer={"_target_": name}))
        assert made("a text", ["first", "second"], [0.6, 0.4]) == "first"


def test_a_function_is_known_by_what_it_takes():
    assert answers_hard_rows(lambda text, candidates, scores: None)
    assert answers_hard_rows(lrsl.Endpoint)
    assert not answers_hard_rows(lambda text, candidates, scores, more: None)
    assert not answers_hard_rows(lambda *rows: None)
    assert not answers_hard_rows(exec)
    assert not answers_hard_rows(object)


def test_rules_and_views_in_lists_are_held_to_the_same(planted):
    for rules in (
        [{"name": "a", "views": [{"_target_": "planted_here.LooksLikeIt"}]}],
        [{"name": "a", "detector": {"_target_": "planted_here.LooksLikeIt"}}],
    ):
        from lrsl.run.rules import rules_beside

        with pytest.raises(InputError, match=r"planted_here.LooksLikeIt is no lrsl"):
            rules_beside(configured(rules=rules))
    with pytest.raises(InputError, match=r"is no lrsl.Detector"):
        papers_rule(configured(detector={"_target_": "planted_here.LooksLikeIt"}))
    assert not planted.exists()


@pytest.fixture
def saved(tmp_path):
    """A reranker that was saved, and a function that changes what its folder says."""
    folder = tmp_path / "reranker"
    made = lrsl.Reranker(None, tiny.LABELS, detector=seams.Margin(), views=[seams.WordOverlap()])
    made.fit(
        LOGITS, torch.tensor(GOLD), TEXTS, train=([f"{text} again" for text in TEXTS], GOLD, None)
    ).save_pretrained(folder)

    def change(apply):
        content = json.loads((folder / "reranker.json").read_text())
        apply(content)
        (folder / "reranker.json").write_text(json.dumps(content))
        return folder

    return change


def test_a_server_is_asked_only_where_that_is_allowed(saved, monkeypatch):
    sent = []
    monkeypatch.setattr("lrsl.reranking.server.asked", lambda url, *args, **kwargs: sent.append(url))
    view = {"kind": "lrsl.LLMChoice", "settings": {"model": "m", "base_url": "https://user:secret@stranger.example/v1"}}
    folder = saved(lambda content: content["rule"]["views"].insert(0, view))
    with pytest.raises(
        ValueError, match=r"sends hard texts to https://\*\*\*@stranger\.example/v1 .*allow_server=True"
    ):
        lrsl.Reranker.from_pretrained(folder)
    saved(lambda content: content["rule"]["views"].pop())
    again = lrsl.Reranker.from_pretrained(folder, allow_server=True)
    assert [type(view).__name__ for view in again.views] == ["LLMChoice"]
    assert not sent


@pytest.mark.parametrize("kind", ["planted_here.LooksLikeIt", "antigravity.fly", "os.system", "numpy.testing.rundocs"])
@pytest.mark.parametrize("part", ["detector", "threshold", "views", "fusion"])
def test_a_saved_reranker_imports_and_makes_nothing_of_strangers(saved, planted, part, kind):
    described = {"kind": kind, "settings": {"command": "touch"}}

    def plant(content):
        content["rule"][part] = [described] if part == "views" else described

    folder = saved(plant)
    with pytest.raises(ValueError, match=r"is not imported; import|is no lrsl"):
        lrsl.Reranker.from_pretrained(folder)
    assert {"planted_here", "antigravity"}.isdisjoint(sys.modules)
    assert not planted.exists()


WRONG = (None, 3, 0.5, -1, 10**30, "x", "", [], {}, [[]], True, float("nan"), ["a", "a"], [1, 2, 3, 4])


def _places(content, path=()):
    yield path
    if isinstance(content, dict):
        for key, value in content.items():
            if path[:1] != ("report",):
                yield from _places(value, (*path, key))
    elif isinstance(content, list):
        for number, value in enumerate(content[:2]):
            yield from _places(value, (*path, number))


def test_what_lacks_a_key_or_is_of_another_kind_is_read_or_said_in_a_sentence(saved):
    """Every key of reranker.json is taken out, and given every kind of value."""
    folder = saved(lambda content: None)
    whole = (folder / "reranker.json").read_text()
    tried, sentences = 0, []
    for place in _places(json.loads(whole)):
        for wrong in (..., *WRONG):
            content = json.loads(whole)
            if not place:
                content = wrong if wrong is not ... else None
            else:
                inner = content
                for key in place[:-1]:
                    inner = inner[key]
                if wrong is ...:
                    del inner[place[-1]]
                else:
                    inner[place[-1]] = wrong
            (folder / "reranker.json").write_text(json.dumps(content))
            tried += 1
            try:
                again = lrsl.Reranker.from_pretrained(folder)
                again.predict(LOGITS.numpy(), TEXTS)
                again.is_hard(np.zeros((1, 4), dtype=np.float32))
            except (ValueError, RuntimeError) as error:
                sentences.append((str(error), place, wrong))
    refused = len(sentences)
    assert [told for told in sentences if "\n" in told[0] or len(told[0]) >= 400] == []
    assert tried > 300
    assert refused > tried / 2


def test_learnt_tensors_that_do_not_fit_are_a_sentence(saved):
    folder = saved(lambda content: None)
    (folder / "learnt.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(ValueError, match=r"is damaged"):
        lrsl.Reranker.from_pretrained(folder)
    (folder / "learnt.safetensors").unlink()
    with pytest.raises((ValueError, RuntimeError)) as caught:
        lrsl.Reranker.from_pretrained(folder).predict(LOGITS, TEXTS)
    assert "\n" not in str(caught.value)


def test_a_configuration_with_a_server_is_ones_own(tmp_path):
    assert replace(configured(), seed=1).seed == 1
    with pytest.raises(InputError, match=r"has more than a path; a key is read from api_key_env"):
        deferral(configured(on_hard="defer", defer={"url": "https://user:pass@example.org/"}))
