"""JSON, tables and names that are deep, wide, long or half: one short sentence each, and at once."""

import gzip
import json
import time

import fuzz
import pytest
import tiny

from experiments.report import jobs
from experiments.runs import collect
from lrsl.config.schema import DatasetConfig
from lrsl.data import load_corpus
from lrsl.errors import InputError, nearest, some
from lrsl.run import results, scored
from lrsl.strict_json import DEEPEST, check_depth, parsed

DEEP = "[" * 5000 + "]" * 5000
OBJECTS = '{"a":' * 5000 + "1" + "}" * 5000


def refused(folder, content, name="train.jsonl", **keys):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    started = time.process_time()
    with pytest.raises(InputError) as caught:
        load_corpus(DatasetConfig(train=str(folder / name), carve_test=True, **keys), None)
    assert time.process_time() - started < 2
    sentence = str(caught.value)
    assert len(sentence.replace(str(folder), "")) < 400
    assert "\n" not in sentence
    sentence.encode()
    return sentence


def lines(**last):
    rows = [{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(8)]
    return "\n".join(json.dumps(row) for row in [*rows, {**rows[-1], **last}])


@pytest.mark.parametrize("deep", [DEEP, OBJECTS, "[" * 101 + "]" * 101, "[" * 100_000])
@pytest.mark.parametrize("name", ["train.jsonl", "train.json", "train.jsonl.gz"])
def test_json_that_is_deep_is_refused_even_in_a_column_that_nobody_asked_for(tmp_path, deep, name):
    content = f'{lines()}\n{{"text": "a", "label": "b", "unused": {deep}}}'
    whole = f"[{content.replace(chr(10), ',')}]" if name == "train.json" else content
    said = refused(tmp_path, gzip.compress(whole.encode()) if name.endswith(".gz") else whole, name)
    assert "deep inside each other" in said or "is not valid JSON" in said


@pytest.mark.parametrize("text", [DEEP, OBJECTS])
def test_deep_json_is_refused_by_whatever_reads_it(tmp_path, text):
    with pytest.raises(ValueError, match="more than 100 deep"):
        parsed(text)
    (tmp_path / "results.json").write_text(text)
    assert results.read(tmp_path) is None
    assert collect.read(tmp_path) is None
    (tmp_path / "runs.jsonl").write_text(text)
    with pytest.raises(InputError, match=r"runs\.jsonl, line 1 is damaged"):
        jobs.jobs_of(tmp_path)
    (tmp_path / "labels.json").write_text(text)
    (tmp_path / "scores.safetensors").write_text(text)
    with pytest.raises(InputError, match=r"scores\.safetensors is damaged"):
        scored.read(tmp_path)
    for name in ("l.json", "l.yaml"):
        (tmp_path / name).write_text(text)
        (tmp_path / "train.jsonl").write_text(lines())
        with pytest.raises(
            InputError, match=r"is not valid (JSON|YAML)|holds no mapping|names no label|gives"
        ) as caught:
            load_corpus(
                DatasetConfig(train=str(tmp_path / "train.jsonl"), carve_test=True, label_texts=str(tmp_path / name)),
                None,
            )
        assert len(str(caught.value)) < 400


def test_depth_is_measured_not_guessed():
    check_depth([[1]] * 1000)
    whole = inner = []
    for _ in range(DEEPEST - 1):
        inner.append([])
        inner = inner[0]
    check_depth(whole)
    inner.append({})
    with pytest.raises(ValueError, match="deep"):
        check_depth(whole)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"text": "a", "label": %s}' % ("9" * 5000), "a number has more than 400 digits"),
        ('{"text": "a", "label": -%s}' % ("9" * 500), "a number has more than 400 digits"),
        ('{"text": "a", "label": NaN}', "NaN is no JSON value"),
        ('{"text": "a", "label": "b", "unused": -Infinity}', "-Infinity is no JSON value"),
        ('{"text": "a", "label": "b", "label": "c"}', "the key 'label' twice"),
        ('{"text": "a", "label": {"x": 1, "x": 2}}', "the key 'x' twice"),
        ('{"text": "a", "label": "%s' % ("x" * 10**6), "is not valid JSON"),
        ("x" * 10**6, "is not valid JSON"),
        ('"%s"' % ("x" * 10**6), "holds a JSON str"),
        ('{"text": ["%s"], "label": "b"}' % ("x" * 10**6), "a text must be a string"),
        ("{}", "has no column 'text'"),
    ],
)
def test_odd_records_are_one_short_sentence(tmp_path, row, said):
    assert said in refused(tmp_path, f"{lines()}\n{row}")


HALF = "\ud83d"


@pytest.mark.parametrize(
    ("last", "keys", "column"),
    [
        ({"text": f"a{HALF}"}, {}, "text"),
        ({"label": f"a{HALF}"}, {}, "label"),
        ({"group": f"a{HALF}"}, {"group": "group"}, "group"),
        ({"described": f"a{HALF}"}, {"label_text": "described"}, "label_text"),
        ({"turns": ["hello", f"a{HALF}"]}, {"turns": "turns"}, "turns"),
        ({"turns": [{"speaker": "agent", "text": HALF}]}, {"turns": "turns"}, "turns"),
        ({"turns": [[HALF, "text"]]}, {"turns": "turns"}, "turns"),
        ({"turns": f"hello [SEP] {HALF}"}, {"turns": "turns"}, "turns"),
    ],
)
def test_half_a_character_is_refused_at_reading(tmp_path, last, keys, column):
    rows = [json.loads(line) for line in lines().split("\n")]
    more = {"group": "g", "described": "d", "turns": ["a", "b"]}
    whole = [{**row, **more, "described": row["label"]} for row in rows] + [
        {**rows[-1], **more, "described": "b", **last}
    ]
    said = refused(tmp_path, "\n".join(map(json.dumps, whole)), **keys)
    assert "has half a character (0xd83d)" in said
    assert f"dataset.{column}=" in said


@pytest.mark.parametrize("name", ["l.json", "l.yaml"])
def test_half_a_character_in_label_texts_or_ids_is_refused(tmp_path, name):
    (tmp_path / name).write_text('{"a": "what \\ud83d is"}')
    said = refused(tmp_path, lines(), label_texts=str(tmp_path / name))
    assert "half a character" in said or "not valid YAML" in said
    assert "half a character" in refused(tmp_path, lines(), label_texts={"a": HALF})
    (tmp_path / "u.jsonl").write_text('{"id": "\\ud83d", "text": "a"}')
    said = refused(tmp_path, lines(), unlabelled=str(tmp_path / "u.jsonl"), leaderboard="p.json")
    assert "half a character (0xd83d) in the column id" in said


def test_a_wide_header_is_read_or_refused_at_once(tmp_path):
    columns = [f"column {number}" for number in range(30_000)]
    said = refused(tmp_path, ",".join(columns) + "\n" + ",".join("x" * 30_000) + "\n", "wide.csv")
    assert "and 29,990 more" in said
    said = refused(tmp_path, ",".join(columns) + "\na,b\n", "wide.csv")
    assert "has 2 fields where the header names 30000" in said
    said = refused(tmp_path, ",".join([*columns, "column 7"]) + "\na,b\n", "wide.csv")
    assert "names the column 'column 7' twice" in said
    said = refused(tmp_path, json.dumps(dict.fromkeys(columns, "x")))
    assert "and 29,990 more" in said
    long = "y" * 10**6
    assert len(refused(tmp_path, f"{long},label\na,b\n", "long.csv")) < 800


def test_what_may_be_meant_is_not_looked_for_among_everything():
    started = time.process_time()
    assert nearest("tekst", [f"column {n}" for n in range(10**5)]) == ""
    assert nearest("x" * 10**5, ["text"]) == ""
    assert nearest("tex", ["text", "y" * 10**5]) == "; did you mean 'text'?"
    assert nearest("bogus", ["out", "llm"]) == ""
    assert some(["a", "b"]) == "a, b"
    assert len(some(["x" * 1000] * 1000)) < 800
    assert time.process_time() - started < 1


def test_inputs_changed_at_random_are_read_or_refused(tmp_path):
    """The long form is `python tests/faults/fuzz.py`."""
    counted = fuzz.fuzz(250, seed=tiny.POSITIONS, out=tmp_path, seconds=60)
    assert counted.failures == {}
    assert counted.tried >= 100
    assert counted.read.total() > 30
    assert counted.refused.total() > 30
