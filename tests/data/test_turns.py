from typing import Any

import pytest

from lrsl.data.corpus import Turn
from lrsl.data.turns import dialogue_text, parse_turns
from lrsl.errors import InputError


@pytest.mark.parametrize(
    ("value", "turns"),
    [
        ("Agent: hello[SEP] customer:hi [SEP]", [Turn("agent", "hello"), Turn("customer", "hi")]),
        ("no mark [SEP] U: yes\nplease", [Turn("", "no mark"), Turn("customer", "yes\nplease")]),
        (["S: good day", "USER : a: b", " Note: this"],
         [Turn("agent", "good day"), Turn("customer", "a: b"), Turn("", " Note: this")]),
        ([{"speaker": "System", "text": "hello", "time": 3}], [Turn("agent", "hello")]),
        ([{"speaker": "", "text": "Agent: hm"}], [Turn("", "Agent: hm")]),
        ([["user", "hi"], ["Bob", "hello"]], [Turn("customer", "hi"), Turn("", "Bob: hello")]),
        (["", "Agent: ", ["user", " "], "x"], [Turn("", "x")]),
        ([], []),
        ("  ", []),
    ],
)  # fmt: skip
def test_every_form_a_file_may_have(value: Any, turns: list[Turn]) -> None:
    assert parse_turns(value, "[SEP]", "x.jsonl:1") == turns


def test_text_and_turns_say_the_same() -> None:
    turns = [Turn("agent", "hello"), Turn("", "hm"), Turn("customer", "hi")]
    text = dialogue_text(turns)
    assert text == "Agent: hello\nhm\nCustomer: hi"
    assert parse_turns(text, "\n", "x.csv:2") == turns


def test_chinese_marks() -> None:
    turns = [Turn("agent", "您好"), Turn("", "嗯"), Turn("customer", "退订")]
    text = dialogue_text(turns, "zh")
    assert text == "客服：您好\n嗯\n客户：退订"
    assert parse_turns(text, "\n", "x.csv:2") == turns


def test_a_files_own_marks_are_for_speakers_only() -> None:
    marks = {"1": "agent", "2": "customer"}
    found = parse_turns([{"speaker": "1", "text": "a"}, ["2", "b"], "1: c"], "[SEP]", "x.csv:2", marks)
    assert found == [Turn("agent", "a"), Turn("customer", "b"), Turn("", "1: c")]


@pytest.mark.parametrize("value", [[3], [["a", "b", "c"]], [{"speaker": "agent"}], ["fine", None]])
def test_unreadable_turn_is_named(value: Any) -> None:
    with pytest.raises(InputError, match=rf"^x\.jsonl:7 has a turn {len(value)} that cannot be read; give a string, "):
        parse_turns(value, "[SEP]", "x.jsonl:7")


@pytest.mark.parametrize("value", [None, 3, {"speaker": "agent", "text": "hi"}])
def test_turns_of_another_type(value: Any) -> None:
    with pytest.raises(InputError, match=r"^x\.jsonl:7 has turns of type \w+; give a list, .*'<turn>'"):
        parse_turns(value, "<turn>", "x.jsonl:7")
