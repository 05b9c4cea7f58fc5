"""A data set of two labels runs as any other does, though the usual k is 3."""

import csv
from dataclasses import asdict, replace

import pytest
import tiny

from lrsl.errors import InputError
from lrsl.run import finished, pipeline


@pytest.fixture(scope="module")
def config(tiny_bert, tiny_corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two_labels")
    for name in ("train.csv", "test.csv"):
        with (tiny_corpus / name).open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *(row for row in rows if row[1] in tiny.LABELS[:2])])
    return tiny.config(folder, tiny_bert)


def test_k_is_two_and_the_run_is_known_by_what_was_asked_for(config, tmp_path, capsys):
    found = pipeline.run(config, tmp_path)
    assert "tiny has 2 labels, so reranker.k is 2" in capsys.readouterr().out
    assert (found["status"], found["classes"], found["k"]) == ("finished", 2, 2)
    finished.record_finish(asdict(config), tmp_path)
    assert finished.results_of(config, asdict(config), tmp_path) == found


def test_a_k_that_somebody_asked_for_is_refused(config, tmp_path):
    asked = replace(config, reranker=replace(config.reranker, k=4))
    with pytest.raises(InputError, match=r"^reranker\.k=4 is too large; tiny has 2 labels, so it must be at most 2$"):
        pipeline.run(asked, tmp_path)
