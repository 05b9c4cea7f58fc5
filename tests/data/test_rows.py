"""Tables a row after the other are what they are as a whole."""

import csv
import gzip
import io
import json
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsl.data.arrow import read_parquet
from lrsl.data.rows import count, records, texts
from lrsl.data.table import iterate_records, read_records
from lrsl.errors import InputError

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)


def outcome(read):
    try:
        return list(read())
    except InputError as error:
        return str(error)


@given(rows=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=8), end=st.sampled_from(["\n", "\r\n"]))
def test_csv_that_was_written_is_read_alike(tmp_path_factory, rows, end):
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *rows])
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes(b"\xef\xbb\xbf" + text.getvalue().encode())
    assert outcome(lambda: iterate_records(path)) == outcome(lambda: read_records(path))
    assert [record.values["label"] for record in iterate_records(path)] == [label for _, label in rows]


@given(content=st.lists(st.sampled_from(["a", ",", '"', "\n", "\r\n", "\t", " "]), max_size=40).map("".join))
@pytest.mark.parametrize("ending", ["csv", "tsv"])
@pytest.mark.parametrize("quoting", ["checked", "trusted", "none"])
def test_whatever_stands_in_a_file_is_read_or_refused_alike(tmp_path_factory, content, ending, quoting):
    path = tmp_path_factory.mktemp("any") / f"a.{ending}"
    path.write_bytes(f"text,label\n{content}".replace(",", "\t" if ending == "tsv" else ",").encode())
    assert outcome(lambda: iterate_records(path, quoting)) == outcome(lambda: read_records(path, quoting))


@given(rows=st.lists(st.dictionaries(WORDS, WORDS, max_size=3), min_size=1, max_size=6))
def test_json_lines_are_read_alike(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("jsonl") / "a.jsonl"
    path.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8", newline="")
    assert list(iterate_records(path)) == read_records(path)
    assert count(path) == len(rows)


def test_parquet_is_read_alike_over_its_batches(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"text {i}" for i in range(10_000)], "label": range(10_000)}), path)
    assert list(records(path)) == read_parquet(path)
    assert count(path) == 10_000
    assert list(texts(path))[9_999] == "text 9999"


def test_compressed_and_broken_files(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"text\none\ntwo\n"))
    assert list(texts(path)) == ["one", "two"]
    path.write_bytes(path.read_bytes()[:-6])
    with pytest.raises(InputError, match="is no whole gzip file"):
        count(path)
    (tmp_path / "b.csv").write_bytes(b"text\n\xff\n")
    with pytest.raises(InputError, match=r"b.csv is not UTF-8 \(0xff\); save the file as UTF-8"):
        count(tmp_path / "b.csv")
    with pytest.raises(InputError, match=r"nothing.jsonl cannot be read \(No such file"):
        count(tmp_path / "nothing.jsonl")
    (tmp_path / "c.jsonl").write_text('{"text": "a"}\n{"text": 3}\n')
    with pytest.raises(InputError, match=r"c.jsonl:2 has 3 for a text; it must be a string"):
        list(texts(tmp_path / "c.jsonl"))


@pytest.mark.parametrize(
    ("name", "header"), [("a.csv", "text;label"), ("a.csv", "text\tlabel"), ("a.tsv", "text|label")]
)
def test_columns_that_are_separated_otherwise_are_refused(tmp_path, name, header):
    path = tmp_path / name
    path.write_text(f"{header}\n{header.replace('text', 'one')}\n")
    with pytest.raises(InputError) as refused:
        list(texts(path))
    assert str(refused.value) == (
        f"{path}:2 has one column, {header!r}; fields are separated by commas (in .tsv by tabs): save it so, or name "
        "the column with --text-key"
    )
    assert list(texts(path, header)) == [header.replace("text", "one")]
    path.write_text("utterance\none; two\n")
    assert list(texts(path)) == ["one; two"]
    path.with_suffix(".jsonl").write_text('{"a;b": "one"}\n')
    assert list(texts(path.with_suffix(".jsonl"))) == ["one"]


@pytest.mark.parametrize(
    ("content", "quoting"), [('a,b\n"one,\ntwo, x",c\n', "checked"), ('a\n"b" c\n', "checked"), ("a,b\nc\n", "none")]
)
def test_messages_name_the_flag_of_the_commands(tmp_path, content, quoting):
    path = tmp_path / "a.csv"
    path.write_text(content)
    with pytest.raises(InputError, match="with --quoting none") as refused:
        list(texts(path, "a", quoting))
    assert "dataset.quoting" not in str(refused.value)


def test_memory_does_not_grow_with_the_rows(tmp_path):
    peaks = []
    for rows in (2_000, 40_000):
        path = tmp_path / f"{rows}.csv"
        path.write_text("text,label\n" + "a text of some words,label\n" * rows)
        tracemalloc.start()
        assert sum(1 for _ in texts(path)) == rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 100_000
