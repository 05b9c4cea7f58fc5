import io
import json

import numpy as np
import pytest
from rich.console import Console

from lrsl import metrics
from lrsl.run import results

LABELS = np.array([0, 1, 2, 1])


def test_significance_counts_what_was_mended_and_broken():
    origin, rerank = np.array([0, 0, 0, 1]), np.array([0, 1, 2, 0])
    found = results.significance(origin, rerank, LABELS)
    assert found["gain"] == 0.25
    assert found["gain_low"] <= 0.25 <= found["gain_high"]
    assert (found["only_origin_correct"], found["only_rerank_correct"]) == (1, 2)
    assert found["p_value"] == metrics.mcnemar(origin == LABELS, rerank == LABELS).p_value == 1.0
    json.dumps(found, allow_nan=False)


def test_the_k_best_labels_with_their_scores():
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.5, 0.5]], dtype=np.float32)
    first, tied = results.top_k(scores, ["a", "b", "c"], 2)
    assert first == [("b", pytest.approx(0.7)), ("c", pytest.approx(0.2))]
    assert tied == [("a", 0.5), ("b", 0.5)]


def test_what_is_written_is_read(tmp_path):
    folder = tmp_path / "new" / "folder"
    results.write(folder, {"status": "finished", "name": "größer"}, [{"text": "zwei\nZeilen"}, {"text": "次"}])
    assert results.read(folder) == {"status": "finished", "name": "größer"}
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["zwei\nZeilen", "次"]
    assert sorted(path.name for path in folder.iterdir()) == ["predictions.jsonl", "results.json"]  # nothing partial
    assert "größer" in (folder / "results.json").read_text(encoding="utf-8")


def test_without_predictions_those_that_are_there_stay(tmp_path):
    results.write(tmp_path, {"status": "finished"}, [{"id": 1}])
    results.write(tmp_path, {"status": "failed"})
    assert results.read(tmp_path) == {"status": "failed"}
    assert (tmp_path / "predictions.jsonl").read_text() == '{"id": 1}\n'


def test_a_nan_is_never_written_and_what_was_there_stays(tmp_path):
    results.write(tmp_path, {"accuracy": 1.0})
    with pytest.raises(ValueError, match="JSON compliant"):
        results.write(tmp_path, {"accuracy": float("nan")})
    assert results.read(tmp_path) == {"accuracy": 1.0}


@pytest.mark.parametrize("damaged", [b"", b'{"status": "fin', b"[1]", b"\xff\xfe"])
def test_damaged_results_are_none(tmp_path, damaged):
    assert results.read(tmp_path) is None
    (tmp_path / "results.json").write_bytes(damaged)
    assert results.read(tmp_path) is None


def test_the_table_shows_every_figure():
    part = {"accuracy": 0.9125, "accuracy_hard": 0.5, "accuracy_easy": 0.95}
    shown = {
        "dataset": "tiny[1]",
        "model": "bert",
        "seed": 0,
        "n_test": 1200,
        "n_hard": 100,
        "origin": part,
        "rerank": part | {"accuracy": 0.92},
        "similarity": part | {"accuracy_hard": None},
        "significance": {
            "gain": 0.0075,
            "gain_low": -0.001,
            "gain_high": 0.02,
            "only_origin_correct": 3,
            "only_rerank_correct": 12,
            "p_value": 0.0352,
        },
        "sigma2_mis": 1.23456,
        "hard_fraction": 0.0833,
    }
    shown |= {"verdict": {"deployed": "[/x]", "reason": "[bold]reranker.deploy[/] says :smile:"}}
    output = io.StringIO()
    results.show(shown | {"dataset": "[/x]", "model": "[red]:smile:"}, Console(file=output, width=100))
    assert "[/x], [red]:smile:, seed 0: accuracy in %" in output.getvalue()
    assert "deployed: [/x] ([bold]reranker.deploy[/] says :smile:)" in output.getvalue()
    output = io.StringIO()
    results.show(shown, Console(file=output, width=100))
    text = output.getvalue()
    for expected in (
        "tiny[1], bert, seed 0: accuracy in %",
        "all (1,200)",
        "hard (100)",
        "easy (1,100)",
        "91.25",
        "92.00",
        "–",
        "+0.75 points (95 % interval -0.10 to +2.00), 12 mended, 3 broken, McNemar p = 0.0352",
        "σ²_mis = 1.235 from validation; hard samples: 8.3 % of test",
    ):
        assert expected in text


def test_ranks_count_from_one_and_equal_scores_keep_the_order_of_the_labels():
    scores = np.array([[0.1, 0.9, 0.5], [0.5, 0.5, 0.5], [3.0, 2.0, 1.0]])
    assert results.ranks(scores, np.array([2, 1, 0])).tolist() == [2, 2, 1]
