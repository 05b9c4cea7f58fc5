from pathlib import Path
from typing import Any

import pytest

from lrsl.data.label_texts import label_texts, readable
from lrsl.errors import InputError


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("card_arrival", "card arrival"),
        ("Refund_not_showing_up", "Refund not showing up"),
        ("top__up _by-card_", "top up by-card"),
        ("CamelCase", "CamelCase"),
        ("___", "___"),
        ("余额查询", "余额查询"),
    ],
)
def test_names_made_readable(name: str, text: str) -> None:
    assert readable(name) == text


def texts(labels: list[str], given: Any, data_dir: Path | None = None) -> list[str]:
    own = [readable(label) for label in labels]
    return label_texts(labels, own, given, None if data_dir is None else str(data_dir))


@pytest.mark.parametrize(
    ("labels", "given", "expected"),
    [
        (["a_b", "c"], None, ["a b", "c"]),
        (["a_b", "c"], {}, ["a b", "c"]),
        (["a_b", "c"], {"c": " sea "}, ["a b", "sea"]),
        (["0", "1"], {0: "negative", 1: "positive"}, ["negative", "positive"]),
        (["False", "True"], {True: "yes", False: "no"}, ["no", "yes"]),
        (["false", "true"], {True: "yes", False: "no"}, ["no", "yes"]),
        (["x", "y"], {"x": "y", "y": "x"}, ["y", "x"]),
    ],
)
def test_given_texts_override(labels: list[str], given: Any, expected: list[str]) -> None:
    assert texts(labels, given) == expected


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.yaml", "# comment\n01: first\nyes: 'second'\nplain: third\n"),
        ("t.yml", '{"01": first, "yes": second, "plain": "third"}'),
        ("t.json", '{"01": "first", "yes": "second",\n "plain": "third"}'),
    ],
)
def test_names_in_a_file_are_taken_as_written(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    for given, data_dir in [(str(tmp_path / name), None), (name, tmp_path)]:
        assert texts(["01", "plain", "yes"], given, data_dir) == ["first", "third", "second"]


@pytest.mark.parametrize(
    ("name", "content", "place", "said"),
    [
        ("t.yaml", "a: x\n\nbb: y\n", ":3", "'bb', which is no label of the training data; did you mean 'b'?"),
        ("t.yaml", "a: x\na: y\n", ":2", "second text; the first is "),
        ("t.yaml", "a: x\nb:\n", ":2", "gives the label 'b' no text"),
        ("t.yaml", "a: x\nb: [y]\n", ":2", "gives the label 'b' no text"),
        ("t.yaml", "- a\n- b\n", ":1", "holds no mapping"),
        ("t.yaml", "", ":1", "holds no mapping"),
        ("t.yaml", "a: x\nb: 'y\n", ":3", "is not valid YAML"),
        ("t.yaml", b"a: x\nb: \xe9\n", ":2", "is not UTF-8"),
        ("t.json", '{"a": "x",\n "b" "y"}', ":2", "is not valid JSON (expecting ':' delimiter)"),
        ("t.json", '[["a", "x"]]', ":1", "holds no mapping"),
        ("t.json", '{"a": "x", "a": "y"}', "", "second text"),
        ("t.json", '{"a": {"x": "y"}}', "", "gives the label 'a' no text"),
        ("t.txt", "a: x", "", "unknown ending; use one of .yaml, .yml, .json"),
    ],
)
def test_a_wrong_file_is_said_with_its_line(
    tmp_path: Path, name: str, content: str | bytes, place: str, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError) as caught:
        texts(["a", "b"], str(path))
    assert f"{path}{place} " in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "given", "said"),
    [
        (["a_b", "a b"], None, "the labels 'a_b' and 'a b' have the same text 'a b'; tell them apart in dataset.label"),
        (["a", "b"], {"b": "a"}, "the labels 'a' and 'b' have the same text 'a' (dataset.label_texts); tell them"),
        (["a", "b"], {"c": "x"}, "dataset.label_texts gives a text to 'c', which is no label of the training data"),
        (["a", "b"], {"a": 3}, "dataset.label_texts gives the label 'a' no text; it must be a string"),
        (["a", "b"], {"a": " "}, "gives the label 'a' no text"),
        (["0", "b"], {0: "x", "0": "y"}, "gives the label '0' a second text"),
        (["true", "TRUE"], {True: "x"}, "a text to 'True', which is no label"),
        (["a", "b"], ["x", "y"], "dataset.label_texts is of type list; give a mapping from label to text, or a file"),
        (["a", "b"], "missing.yaml", "dataset.label_texts=missing.yaml is no file in the working directory"),
    ],
)  # fmt: skip
def test_a_wrong_entry_is_said_with_its_key(labels: list[str], given: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        texts(labels, given)
    assert said in str(caught.value)
