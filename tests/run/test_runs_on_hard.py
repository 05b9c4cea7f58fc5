"""What a run does with hard samples besides reranking them."""

import json
from dataclasses import replace

import pytest
import tiny

from lrsl.config.schema import RerankerConfig
from lrsl.errors import InputError
from lrsl.run import outcome, pipeline
from lrsl.run.on_hard import deferral

ASKED: list[tuple[str, list[str], list[float]]] = []


def ask(text, candidates, scores):
    """Stands for somebody who knows."""
    ASKED.append((text, list(candidates), list(scores)))
    return None if len(ASKED) == 1 else candidates[0]


class Fixed:
    """Answers the same to everything."""

    def __init__(self, label):
        self.label = label

    def __call__(self, text, candidates, scores):
        return self.label


@pytest.fixture(scope="module")
def config(tiny_corpus, tiny_bert, tmp_path_factory):
    made = tiny.config(tiny_corpus, tiny_bert)
    return replace(made, cache=True, cache_dir=str(tmp_path_factory.mktemp("store")))


def run(config, folder, **keys):
    found = pipeline.run(replace(config, reranker=replace(config.reranker, **keys)), folder)
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return found, [json.loads(line) for line in lines]


def hard(line, found):
    rule = found["on_hard"]["detector"]
    return line["hard"] if rule == "rerank" else line["beside"][rule]["hard"]


def test_reranking_is_what_is_deployed(config, tmp_path):
    found, lines = run(config, tmp_path)
    right = [line["deployed"] == line["gold"] for line in lines]
    told = found["on_hard"]
    assert (told["action"], told["answered"]) == ("rerank", 1.0)
    assert told["accuracy_answered"] == pytest.approx(sum(right) / len(right))
    assert "answer" not in lines[0]
    for line in lines:
        for name, beside in line["beside"].items():
            assert found[name]["if_deployed"]
            assert beside["hard"] == (beside["hardness"] < found[name]["threshold"])
    if_deployed = [line["beside"]["fitted"] for line in lines]
    answers = [
        each["if_hard"] if each["hard"] else line["origin"] for each, line in zip(if_deployed, lines, strict=True)
    ]
    right = [answer == line["gold"] for answer, line in zip(answers, lines, strict=True)]
    assert found["fitted"]["if_deployed"]["accuracy"] == pytest.approx(sum(right) / len(right))
    by_share = found["selective"]["fitted"]["accuracy_by_share"]
    assert by_share["0.0"] == pytest.approx(found["origin"]["accuracy"])
    shown = outcome.summary_metrics(found)
    assert shown["test/rerank_aurc"] == found["selective"]["rerank"]["aurc"]
    assert shown["test/fitted_augrc"] == found["selective"]["fitted"]["augrc"]


@pytest.mark.parametrize(("deploy", "detector"), [("origin", "fitted"), ("rerank", "rerank")])
def test_abstaining_answers_easy_samples_alone(config, tmp_path, capsys, deploy, detector):
    found, lines = run(config, tmp_path, deploy=deploy, on_hard="abstain")
    assert found["on_hard"]["detector"] == detector
    for line in lines:
        assert line["answer"] == (None if hard(line, found) else line["origin"])
    answered = [line for line in lines if line["answer"] is not None]
    assert 0 < len(answered) < len(lines)
    assert found["on_hard"]["answered"] == pytest.approx(len(answered) / len(lines))
    accuracy = sum(line["answer"] == line["gold"] for line in answered) / len(answered)
    assert found["on_hard"]["accuracy_answered"] == pytest.approx(accuracy)
    assert outcome.summary_metrics(found)["test/on_hard_answered"] == found["on_hard"]["answered"]
    assert f"hard samples: abstain, {100 * len(answered) / len(lines):.1f} % of test have one answer" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("deploy", ["origin", "fitted"])
def test_sets_are_measured_over_hard_samples(config, tmp_path, deploy):
    pytest.importorskip("crepes")
    found, lines = run(config, tmp_path, deploy=deploy, on_hard="set", coverage=0.7)
    told = found["on_hard"]
    ours = [line for line in lines if hard(line, found)]
    sets = [line["answer"] if isinstance(line["answer"], list) else [line["answer"]] for line in ours]
    held = [line["gold"] in labels for line, labels in zip(ours, sets, strict=True)]
    assert told["coverage"] == pytest.approx(sum(held) / len(held))
    assert told["mean_size"] == pytest.approx(sum(map(len, sets)) / len(sets))
    assert (told["stated_coverage"], told["all_labels"]) == (0.7, told["n_calibration"] < 7 / 3)
    assert all(line["answer"] == line["origin"] for line in lines if not hard(line, found))


def test_deferring_asks_about_hard_samples_alone(config, tmp_path):
    ASKED.clear()
    found, lines = run(config, tmp_path, deploy="origin", on_hard="defer", defer={"_target_": f"{__name__}.ask"})
    ours = [line for line in lines if hard(line, found)]
    assert [text for text, _, _ in ASKED] == [line["text"] for line in ours]
    assert found["on_hard"]["calls"] == len(ours) > 1
    assert ours[0]["answer"] is None
    assert [line["answer"] for line in ours[1:]] == [line["origin"] for line in ours[1:]]
    right = sum(line["answer"] == line["gold"] for line in lines)
    assert found["on_hard"]["accuracy"] == pytest.approx(right / len(lines))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"on_hard": "ask"}, r"reranker\.on_hard=ask is unknown; use one of rerank, abstain, set, defer"),
        ({"on_hard": "set", "coverage": 1.0}, r"reranker\.coverage=1\.0 is out of range"),
        ({"coverage": 0.8}, r"reranker\.coverage=0\.8 has no effect with reranker\.on_hard=rerank"),
        ({"defer": {"url": "https://here"}}, r"reranker\.defer has no effect with reranker\.on_hard=rerank"),
        ({"on_hard": "defer"}, r"reranker\.on_hard=defer needs one to ask"),
        ({"on_hard": "defer", "defer": {"url": "x", "_target_": "y"}}, r"give either reranker\.defer\.url"),
    ],
)
def test_keys_that_make_no_sense_are_refused(keys, message):
    with pytest.raises(InputError, match=message):
        RerankerConfig(**keys)


@pytest.mark.parametrize(
    ("defer", "message"),
    [
        ({"url": "ftp://here"}, r"reranker\.defer cannot be made: lrsl\.Endpoint says url is ftp://here"),
        ({"url": "https://here", "key": "x"}, r"reranker\.defer cannot be made: lrsl\.Endpoint says .*key"),
        ({"_target_": "nowhere.ask"}, r"reranker\.defer\._target_=nowhere\.ask cannot be imported"),
        ({"_target_": f"{__name__}.ask", "x": 1}, r"reranker\.defer\.x has no effect, for .*ask is no class"),
        ({"_target_": f"{__name__}.Fixed"}, r"reranker\.defer cannot be made: .*Fixed says"),
        ({"_target_": f"{__name__}.ASKED"}, r"ASKED cannot be called; name a function of text, candidates and scores"),
    ],
)
def test_who_cannot_be_asked_is_one_sentence_before_anything_is_trained(config, defer, message):
    with pytest.raises(InputError, match=message):
        deferral(replace(config, reranker=replace(config.reranker, on_hard="defer", defer=defer)))


def test_a_class_is_made_with_what_stands_beside_it(config):
    settings = {"_target_": f"{__name__}.Fixed", "label": "loan"}
    made = deferral(replace(config, reranker=replace(config.reranker, on_hard="defer", defer=settings)))
    assert made("a text", ["cash"], [1.0]) == "loan"
