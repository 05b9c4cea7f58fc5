"""Batches of rows in other people's engines: the answers of the reranker, from a folder that each process loads."""

import pickle

import cloudpickle
import datasets
import hub_stand_in
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from datasets.fingerprint import Hasher
from test_reranker import LABELS, TEST, TRAIN, VAL

from lrsl import Lexical, RerankedBatches, Reranker
from lrsl.errors import InputError
from lrsl.plugin import batches

TRAINED = (TRAIN.texts, TRAIN.labels, None)


@pytest.fixture(scope="module")
def fitted(tiny_bert):
    reranker = Reranker(str(tiny_bert), LABELS, rule="fitted", names=[label.upper() for label in LABELS])
    return reranker.fit(VAL.logits, VAL.labels, VAL.texts, train=TRAINED, finetune=False)


@pytest.fixture(scope="module")
def folder(fitted, tmp_path_factory):
    made = tmp_path_factory.mktemp("saved") / "my-reranker"
    fitted.save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def expected(fitted):
    return fitted.answers(TEST.logits, TEST.texts)


@pytest.fixture
def rows():
    return datasets.Dataset.from_dict({"text": TEST.texts, "logits": TEST.logits.tolist()})


@pytest.fixture(autouse=True)
def nothing_loaded():
    batches._loaded.cache_clear()


def words(**settings):
    reranker = Reranker(None, LABELS, views=[Lexical()], rule="fitted", **settings)
    return reranker.fit(VAL.logits, VAL.labels, VAL.texts, train=TRAINED)


def check(made, expected):
    assert list(made["answer"]) == [answer.name for answer in expected]
    assert list(made["hard"]) == [answer.hard for answer in expected]
    for found, answer in zip(made["candidates"], expected, strict=True):
        assert [one["label"] for one in found] == [one.name for one in answer.candidates]
        for score in ("before", "after"):
            of = [getattr(one, score) for one in answer.candidates]
            assert [one[score] for one in found] == pytest.approx(of, abs=1e-6)


def test_whatever_form_a_batch_has_it_gets_the_rerankers_answers(folder, expected, rows):
    rerank = RerankedBatches(folder)
    lists = {"text": TEST.texts, "logits": TEST.logits.tolist()}
    arrays = {"text": np.array(TEST.texts, dtype=object), "logits": TEST.logits.numpy()}
    for batch in (lists, arrays, rows[:], rows.with_format("numpy")[:], rows.with_format("torch")[:]):
        made = rerank(batch)
        assert [*made] == ["answer", "hard", "candidates"]
        check(made, expected)
    frame = rows.to_pandas().set_index(np.arange(50)[::-1])
    made = rerank(frame)
    assert [*made.columns] == ["text", "logits", "answer", "hard", "candidates"]
    assert made.index.equals(frame.index)
    check(made, expected)
    assert "answer" not in frame.columns
    assert len(rerank(frame[:0])) == 0


def test_datasets_map_it_over_processes_and_know_it_by_its_content(folder, expected, rows, tmp_path):
    check(rows.map(RerankedBatches(folder), batched=True, batch_size=20, num_proc=2), expected)
    used = RerankedBatches(str(folder))
    fresh = Hasher.hash(used)
    used(rows[:3])
    assert Hasher.hash(used) == fresh == Hasher.hash(RerankedBatches(folder))
    words().save_pretrained(tmp_path)
    before = Hasher.hash(RerankedBatches(tmp_path))
    words(k=2).save_pretrained(tmp_path)
    assert Hasher.hash(RerankedBatches(tmp_path)) != before
    assert Hasher.hash(RerankedBatches(folder, k=2)) != fresh


@pytest.mark.parametrize("by", [pickle, cloudpickle])
def test_it_goes_to_other_processes_as_the_name_of_a_folder(folder, expected, rows, by, tmp_path, monkeypatch):
    monkeypatch.chdir(folder.parent)
    rerank = RerankedBatches(folder.name)
    rerank(rows[:1])
    sent = by.dumps(rerank.frames)
    assert len(sent) < 1000
    batches._loaded.cache_clear()
    monkeypatch.chdir(tmp_path)  # where workers are is for the engine to say
    frame = rows.to_pandas()
    made = list(by.loads(sent)(iter([frame[:20], frame[20:20], frame[20:]])))
    assert [len(part) for part in made] == [20, 0, 30]
    check(pd.concat(made), expected)
    assert batches._loaded.cache_info().misses == 1
    list(by.loads(sent)(iter([frame])))  # a second task in the same process
    assert batches._loaded.cache_info().misses == 1


def test_frames_are_what_arrow_is_told_to_expect(folder, rows):
    candidate = pa.struct([("label", pa.string()), ("before", pa.float64()), ("after", pa.float64())])
    types = [("text", pa.string()), ("logits", pa.list_(pa.float64())), ("answer", pa.string()), ("hard", pa.bool_())]
    schema = pa.schema([*types, ("candidates", pa.list_(candidate))])
    (made,) = RerankedBatches(folder, k=2).frames([rows.to_pandas()])
    table = pa.Table.from_pandas(made, schema=schema, preserve_index=False)
    assert table.column("candidates").null_count == 0
    assert all(2 <= len(found) <= 4 for found in table.column("candidates").to_pylist())


def test_a_folder_that_was_fitted_anew_is_refused(rows, tmp_path):
    words().save_pretrained(tmp_path)
    rerank = RerankedBatches(tmp_path)
    words(k=2).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="holds another reranker than when this began: it was fitted anew, or"):
        rerank(rows[:2])


def test_of_the_hub_the_commit_of_now_is_taken(rows, tmp_path, monkeypatch):
    there, commit = hub_stand_in.put(monkeypatch, tmp_path), "0123456789abcdef0123456789abcdef01234567"
    reranker = words()
    reranker.push_to_hub("me/mine")
    there.repositories["me/mine"][commit] = dict(there.repositories["me/mine"]["main"])
    rerank = RerankedBatches("me/mine", revision=commit)
    assert (rerank.reranker, rerank.revision) == ("me/mine", commit)
    assert rerank(rows[:5])["answer"] == [LABELS[label] for label in reranker.predict(TEST.logits[:5], TEST.texts[:5])]
    assert RerankedBatches("me/mine").revision is None  # a stand-in that has branches alone


def test_sets_have_a_column_and_no_answer_is_none(rows, tmp_path):
    reranker = words(on_hard="abstain")
    reranker.save_pretrained(tmp_path / "abstain")
    made = RerankedBatches(tmp_path / "abstain")(rows[:])
    hard = reranker.is_hard(TEST.logits).tolist()
    assert [answer is None for answer in made["answer"]] == hard == made["hard"]
    assert any(hard)
    pytest.importorskip("crepes")
    reranker = words(on_hard="set")
    reranker.save_pretrained(tmp_path / "set")
    made = RerankedBatches(tmp_path / "set")(rows[:])
    sets = reranker.predict_set(TEST.logits, TEST.texts)
    assert [len(names) for names in made["labels"]] == sets.sum(-1).tolist()


def test_what_is_missing_is_one_sentence(folder, rows, tmp_path):
    with pytest.raises(InputError, match=r"there is no column 'scores' in text, logits; name it"):
        RerankedBatches(folder, logits="scores")(rows[:])
    with pytest.raises(ValueError, match=r"holds no reranker: reranker\.json is missing"):
        RerankedBatches(tmp_path)


def test_a_reranker_that_is_no_folder_yet_is_pickled_as_it_is(fitted):
    again = pickle.loads(pickle.dumps(fitted))
    assert torch.equal(again.rerank(TEST.logits, TEST.texts), fitted.rerank(TEST.logits, TEST.texts))
    assert again.report_ == fitted.report_
