import csv
import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsl.data.table import read_records
from lrsl.errors import InputError


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def lines_and_texts(path: Path) -> list[tuple[int, object]]:
    return [(record.line, record.values["text"]) for record in read_records(path)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_csv_fields_hold_newlines_and_rows_know_their_first_line(tmp_path: Path, end: str) -> None:
    content = end.join(["text,label", '"one', 'two",a', "", '"said ""hi"", then left",b', "last,a", ""])
    records = read_records(write(tmp_path, "x.csv", content))
    assert [(record.line, record.values) for record in records] == [
        (2, {"text": f"one{end}two", "label": "a"}),
        (5, {"text": 'said "hi", then left', "label": "b"}),
        (6, {"text": "last", "label": "a"}),
    ]
    assert records[1].place == f"{tmp_path / 'x.csv'}:5"


def test_tsv_keeps_commas_and_inner_quotation_marks(tmp_path: Path) -> None:
    path = write(tmp_path, "x.tsv", 'text\tlabel\na, b and 5" more\tx\n"tab\there"\ty\n')
    assert lines_and_texts(path) == [(2, 'a, b and 5" more'), (3, "tab\there")]


def test_json_lines_skip_blank_lines_and_keep_exotic_line_separators(tmp_path: Path) -> None:
    path = write(tmp_path, "x.jsonl", '{"text": "a\u2028b", "label": 1}\n\n{"text": "c", "label": true}\r\n')
    assert [(record.line, record.values) for record in read_records(path)] == [
        (1, {"text": "a\u2028b", "label": 1}),
        (3, {"text": "c", "label": True}),
    ]


@pytest.mark.parametrize("indent", [None, 2])
def test_json_array(tmp_path: Path, indent: int | None) -> None:
    objects = [{"text": "a ] , [", "label": "x"}, {"text": "b", "label": ["y", {}]}]
    path = write(tmp_path, "x.json", "\n" + json.dumps(objects, indent=indent))
    records = read_records(path)
    assert [record.values for record in records] == objects
    assert [record.line for record in records] == ([3, 7] if indent else [2, 2])


def test_json_may_hold_one_object_per_line(tmp_path: Path) -> None:
    assert lines_and_texts(write(tmp_path, "x.json", '{"text": "a"}\n{"text": "b"}\n')) == [(1, "a"), (2, "b")]


@pytest.mark.parametrize(("name", "content"), [("x.csv", "text\na\n"), ("x.JSONL", '{"text": "a"}')])
def test_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path, name: str, content: str) -> None:
    assert [record.values for record in read_records(write(tmp_path, name, b"\xef\xbb\xbf" + content.encode()))] == [
        {"text": "a"}
    ]


def test_a_field_may_be_very_long(tmp_path: Path) -> None:
    assert lines_and_texts(write(tmp_path, "x.csv", "text,label\n" + "a" * 200_000 + ",x\n")) == [(2, "a" * 200_000)]


@pytest.mark.parametrize(
    ("name", "content", "line", "said"),
    [
        ("x.csv", "", 1, "is empty"),
        ("x.csv", "\ufeff \n", 1, "is empty"),
        ("x.csv", "text,label\n\n", 1, "no record"),
        ("x.json", "[]", 1, "no record"),
        ("x.csv", "text,label\na,x\nb, c,x\n", 3, "3 fields where the header names 2 (text, label)"),
        ("x.csv", 'text,label\n"a\nb",x\nc\n', 4, "1 fields where the header names 2"),
        ("x.csv", 'text,label\na,x\n"never closed,x\nb,y\n', 3, "double the mark"),
        ("x.tsv", 'text\tlabel\n"so" he said\tx\n', 2, "double the mark"),
        ("x.csv", "text,label,text\na,b,c\n", 1, "names the column 'text' twice"),
        ("x.csv", b"text,label\na,x\ncaf\xe9,y\n", 3, "byte 4 of the line is 0xe9"),
        ("x.jsonl", b'\xef\xbb\xbf{"text": "a"}\n\xff', 2, "byte 1 of the line is 0xff"),
        ("x.csv", "text\na\n".encode("utf-16"), 1, "save the file as UTF-8"),
        ("x.jsonl", '{"text": "a"}\n\n{"text": }\n', 3, "expecting value at column 10"),
        ("x.jsonl", '{"text": "a"}\n["b"]\n', 2, "holds a JSON list"),
        ("x.jsonl", '{"text": NaN}\n', 1, "NaN is no JSON value"),
        ("x.json", '[{"text": "a"},\n "b"]', 2, "holds a JSON str"),
        ("x.json", '[{"text": "a"},\n {"text": "b"},\n', 3, "is not valid JSON"),
        ("x.json", '[{"text": "a"},\n {"text": "b", "text": "c"}]\n', 2, "has the key 'text' twice"),
        (
            "x.jsonl",
            '{"text": "a"}\n{"text": "b", "label": "c", "label": "d"}\n',
            2,
            "an object has the key 'label' twice",
        ),
    ],
)
def test_what_is_wrong_is_said_with_file_and_line(
    tmp_path: Path, name: str, content: str | bytes, line: int, said: str
) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(InputError) as caught:
        read_records(path)
    sentence = str(caught.value)
    assert sentence.startswith(f"{path}:{line} ")
    assert said in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x.cvs", "'.cvs'; use one of .csv, .tsv, .jsonl, .json; did you mean '.csv'?"),
        ("x", "unknown ending '';"),
        ("x.parqet", "did you mean '.parquet'?"),
    ],
)
def test_unknown_ending(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read_records(write(tmp_path, name, "text\na\n"))
    assert said in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


def test_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match=r"folder\.csv cannot be read \(.+\); name a readable file"):
        read_records(tmp_path / "folder.csv")


def gz(folder: Path, name: str, content: str) -> Path:
    return write(folder, name, gzip.compress(content.encode()))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv.gz", "\ufefftext,label\r\nhi,a\r\n"),
        ("x.TSV.GZ", "text\tlabel\nhi\ta\n"),
        ("x.jsonl.gz", '{"text": "hi", "label": "a"}'),
        ("x.json.gz", '[{"text": "hi", "label": "a"}]'),
    ],
)
def test_compressed_files_are_read_by_the_ending_before(tmp_path: Path, name: str, content: str) -> None:
    assert [record.values for record in read_records(gz(tmp_path, name, content))] == [{"text": "hi", "label": "a"}]


@pytest.mark.parametrize(
    "content", [b"text,label\nhi,a\n", gzip.compress(b"text,label\nhi,a\n", mtime=0)[:-9]], ids=["plain", "cut off"]
)
def test_what_is_no_whole_gzip_file_is_said(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match=r"x\.csv\.gz is no whole gzip file \(.+\); compress it again with gzip$"):
        read_records(write(tmp_path, "x.csv.gz", content))


SWALLOWED = {  # name, content, the line on which the field begins, and the one on which it ends
    "five lines, three samples": ("x.csv", 'text,label\n"hi,a\nyou,b\nbye",c\nx,a\ny,b\n', 2, 4),
    "the label first": ("x.csv", 'label,text\na,"hi\nb,bye"\n', 2, 3),
    "in the second of three columns": ("x.csv", 'id,text,label\n0,a,x\n1,"b,x\n2,c",y\n', 3, 4),
    "after a field of several lines": ("x.csv", 'note,text,label\n"one\ntwo","b,x\nthree,c",y\n', 3, 4),
    "a line with one field too many": ("x.csv", 'text,label\n"hi,a\noh, well,b\nbye",c\n', 2, 4),
    "CRLF and a byte order mark": ("x.csv", '\ufefftext,label\r\n"hi,a\r\n\r\nbye",c\r\n', 2, 4),
    "the header": ("x.csv", '"text,label\nhi",a\n', 1, 2),
    "other line ends than the header's": ("x.csv", 'text,label\n"hi,a\nbye",c\r\n', 2, 3),
    "a header in quotation marks": ("x.csv", '"text","label, or so"\n"hi,a\nbye",c\n', 2, 3),
    "a proper field after it": ("x.csv", 'text,label\n"hi,a\nbye","b, c"\n', 2, 3),
    "a TSV": ("x.tsv", 'text\tlabel\n"hi\ta\nyou\tb\nbye"\tc\n', 2, 4),
    "a TSV without tabs inside": ("x.tsv", 'text\tlabel\n"one\ntwo"\tc\n', 2, 3),
    "a TSV, the last column": ("x.tsv", 'label\ttext\na\t"hi\nb\tbye"\n', 2, 3),
    "a TSV of one column": ("x.tsv", 'text\n"hi\nbye"\n', 2, 3),
}


@pytest.mark.parametrize(("name", "content", "begins", "ends"), SWALLOWED.values(), ids=SWALLOWED.keys())
def test_a_quotation_mark_swallows_no_records(tmp_path: Path, name: str, content: str, begins: int, ends: int) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(InputError) as caught:
        read_records(path)
    sentence = str(caught.value)
    assert sentence.startswith(
        f"{path}:{begins} opens a field with a quotation mark that is closed on line {ends}, so that "
        f"{ends - begins + 1} lines become one record; "
    )
    assert "dataset.quoting=none" in sentence


def test_marks_can_be_read_as_they_are(tmp_path: Path) -> None:
    path = write(tmp_path, "x.tsv", 'text\tlabel\n"hi\ta\nyou "two"\tb\n\nbye"\tc\n"all"\ta\n"never\tb')
    records = read_records(path, "none")
    assert [(record.line, *record.values.values()) for record in records] == [
        (2, '"hi', "a"), (3, 'you "two"', "b"), (5, 'bye"', "c"), (6, '"all"', "a"), (7, '"never', "b"),
    ]  # fmt: skip
    commas = write(tmp_path, "x.csv", 'text,label\n"a, b",x\n')
    with pytest.raises(InputError, match=r":2 has 3 fields .*; with dataset\.quoting=none no field can hold the"):
        read_records(commas, "none")


def test_a_field_of_several_lines_can_be_trusted(tmp_path: Path) -> None:
    spreadsheet = write(tmp_path, "y.csv", 'text,label\r\n"one, two\nthree, four",a\r\n')
    assert [record.values["text"] for record in read_records(spreadsheet)] == ["one, two\nthree, four"]
    quoted = write(tmp_path, "z.csv", '"text","label"\n"one, two\nthree, ""four""","a"\n')
    assert [record.values["text"] for record in read_records(quoted)] == ['one, two\nthree, "four"']
    letter = "Dear Sir,\nI lost it, help\nBye"
    path = write(tmp_path, "x.csv", f'text,label\n"{letter}",a\n')
    with pytest.raises(InputError, match=r":2 opens a field .* say so with dataset\.quoting=trusted$"):
        read_records(path)
    assert [record.values["text"] for record in read_records(path, "trusted")] == [letter]


@pytest.mark.parametrize(
    "field", ["\nI want, please, a card\n\n", "one, two\n three, four\n", "one\r\ntwo", "a\n", "one\ntwo, three"]
)
def test_correct_fields_of_several_lines_survive(tmp_path: Path, field: str) -> None:
    path = write(tmp_path, "x.csv", f'text,label\n"{field}",a\n"{field}",b\n')
    assert [record.values["text"] for record in read_records(path)] == [field, field]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('note,text\n"a\nb",c\n"d\ne","never\nclosed\n', 5),
        ('note,text\na,b\n"c\nd","he" said\n', 4),
        ('text\n"so ""it"" is\nand, again', 2),
    ],
)
def test_the_line_of_the_field_that_is_malformed(tmp_path: Path, content: str, line: int) -> None:
    path = write(tmp_path, "x.csv", content)
    with pytest.raises(InputError) as caught:
        read_records(path)
    assert str(caught.value).startswith(f"{path}:{line} is malformed (")
    assert str(caught.value).endswith("or read the marks as they are with dataset.quoting=none")


def test_banking77s_fields_of_several_lines(data_dir: Path) -> None:
    path = data_dir / "banking77" / "train.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum("\n" in row["text"] for row in rows) == 10
    assert [record.values for record in read_records(path)] == rows


FIELDS = st.text(st.sampled_from('ab",;\t\n '), max_size=8)


@given(
    st.lists(st.tuples(FIELDS, FIELDS), min_size=1, max_size=6),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_what_the_csv_module_writes_is_read_or_refused_and_read_when_trusted(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], end: str, style: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator=end, quoting=style).writerows([("text", "label"), *rows])
    assert [tuple(record.values.values()) for record in read_records(path, "trusted")] == rows
    try:
        found = [tuple(record.values.values()) for record in read_records(path)]
    except InputError as error:
        assert "lines become one record" in str(error)  # noqa: PT017
        assert any("," in field and "\n" in field for row in rows for field in row)
        assert (style, end) == (csv.QUOTE_MINIMAL, "\n")  # else it is known that the field is meant
    else:
        assert found == rows


@given(st.lists(st.tuples(*[st.text(st.sampled_from('ab" ,'), min_size=1, max_size=8)] * 2), min_size=1, max_size=6))
def test_read_as_they_are_marks_join_no_lines(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "literal.tsv"
    path.write_text("".join(f"{text}\t{label}\n" for text, label in [("text", "label"), *rows]), encoding="utf-8")
    assert [tuple(record.values.values()) for record in read_records(path, "none")] == rows
    try:
        found = read_records(path)
    except InputError:
        return
    assert len(found) == len(rows)  # whatever the marks, no line is lost without a word
