import hashlib
import re
import sys
from collections import Counter
from dataclasses import replace
from subprocess import run

import pytest

from lrsl.data.corpus import Corpus, Split, Turn
from lrsl.data.telecom34 import load
from lrsl.data.telecom34.calls import Call
from lrsl.data.telecom34.draw import Draw
from lrsl.data.telecom34.generate import FEWEST, SIZES, as_text, counts
from lrsl.data.telecom34.noise import cut_off, spoken
from lrsl.data.telecom34.phrases import fill, labels, read

SHA256 = {
    "small": "4bdd1e5e0100619417421a7c07ffeda02279023d3a3b08c46b8c4c8e28daa44e",
    "full": "2619962c85b03d60cc7577e15062b8db03b6156e5a6d1b6633a47e38c7ab6dbe",
}
TURNS = {"small": (2, 5), "full": (4, 9)}
WORDS = {"small": (25, 45), "full": (80, 130)}
CMCC_TRAIN = [1961, 1552, 1303, 976, 925, 930, 875, 887, 563, 474, 399, 322, 258, 282, 191, 173, 135]
CMCC_TRAIN += [133, 88, 73, 49, 58, 40, 29, 21, 34, 15, 20, 16, 5, 5, 5, 1, 1]


@pytest.fixture(scope="module", params=list(SIZES))
def size(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def corpus(size) -> Corpus:
    return load(size)


def splits(corpus: Corpus) -> dict[str, Split]:
    return {"train": corpus.train, "val": corpus.val, "test": corpus.test}


def test_same_bytes_everywhere(corpus, size):
    content = hashlib.sha256("\n".join([*corpus.labels, *corpus.label_texts, *(corpus.groups or [])]).encode())
    for split in splits(corpus).values():
        for row in zip(split.ids, split.texts, map(str, split.labels), strict=True):
            content.update("\0".join(row).encode())
    assert content.hexdigest() == SHA256[size]


def test_same_content_each_time(corpus, size):
    assert load(size).fingerprint() == corpus.fingerprint()


def test_small_is_the_default(corpus, size):
    assert (load().fingerprint() == corpus.fingerprint()) == (size == "small")


def test_sizes_and_ids(corpus, size):
    for name, split in splits(corpus).items():
        assert len(split) == SIZES[size][name]
        assert split.ids == [f"{name}-{i}" for i in range(len(split))]
    assert SIZES["full"] == {"train": 2000, "val": 500, "test": 1000}


def test_labels_are_those_of_cmcc34(corpus):
    assert len(corpus.labels) == len(set(corpus.labels)) == 34
    assert len(set(corpus.label_texts)) == 34
    assert all(re.fullmatch(r"[a-z]+[a-z_]*[a-z]", name) for name in corpus.labels)
    assert Counter(corpus.groups) == {"inquiry": 14, "transaction": 11, "complaint": 9}
    assert [label.frequency for label in labels()] == CMCC_TRAIN


@pytest.mark.parametrize("name", ["train", "val", "test"])
def test_long_tail_in_proportion_with_a_floor(corpus, size, name):
    found = Counter(splits(corpus)[name].labels)
    fewest = FEWEST[size][name]
    assert [found[i] for i in range(34)] == counts(SIZES[size][name], fewest)
    assert min(found.values()) == fewest == found[33]
    assert found[0] / found[1] == pytest.approx(1961 / 1552, abs=1.5 / found[1])  # whole calls


@pytest.mark.parametrize("size", [300, 500, 777, 1000, 2000])
def test_counts_add_up(size):
    assert sum(counts(size, 3)) == size


def test_text_is_the_turns(corpus, size):
    fewest, most = TURNS[size]
    for split in splits(corpus).values():
        assert split.turns is not None
        for text, turns in zip(split.texts, split.turns, strict=True):
            assert fewest <= len(turns) <= most
            assert [turn.speaker for turn in turns] == (["agent", "customer"] * 5)[: len(turns)]
            assert all(turn.text.strip() == turn.text != "" and "\n" not in turn.text for turn in turns)
            assert text == as_text(turns)


def test_as_text_marks_the_speakers():
    assert as_text([Turn("agent", "Hi."), Turn("customer", "Yes?")]) == "Agent: Hi.\nCustomer: Yes?"


def test_no_customer_says_the_same_in_two_splits(corpus, size):
    """Stronger than no text in two splits: what the agent says may not be all that differs."""
    said = [
        {"\n".join(turn.text for turn in turns if turn.speaker == "customer").lower() for turns in split.turns or []}
        for split in splits(corpus).values()
    ]
    assert [len(texts) for texts in said] == list(SIZES[size].values())
    assert len(set.union(*said)) == sum(SIZES[size].values())


def test_calls_are_short_enough_to_train_on(corpus, size):
    least, most = WORDS[size]
    words = [len(re.findall(r"\w+|[^\w\s]", text)) for text in corpus.train.texts]
    assert least <= sum(words) / len(words) <= most
    assert max(words) <= 256


def test_no_slot_or_choice_is_left_open(corpus):
    for split in splits(corpus).values():
        assert not [text for text in split.texts if re.search(r"[<>|{}()/]|  ", text)]


def test_no_label_text_in_a_call(corpus):
    calls = "\n".join(text for split in splits(corpus).values() for text in split.texts).lower()
    assert not [text for text in corpus.label_texts if text.lower() in calls]
    assert not [name for name in corpus.labels if "_" in name and name.replace("_", " ") + " " in calls]


def test_neighbouring_labels_and_situations_exist():
    names = [label.name for label in labels()]
    for label in labels():
        assert label.near, label.name
        assert set(label.near) <= set(names) - {label.name}
        assert set(label.about) <= set(read("situations"))


def test_every_phrase_can_be_filled():
    slots = dict.fromkeys([*read("slots"), "topic"], "x") | {"svc2": "y", "plan2": "y", "amount2": "y"}

    def phrases(material):
        if isinstance(material, dict):
            return [phrase for value in material.values() for phrase in phrases(value)]
        return list(material) if isinstance(material, tuple) else []

    found = [p for name in ("inquiry", "transaction", "complaint", "situations", "people") for p in phrases(read(name))]
    assert len(found) > 700
    for phrase in found:
        assert not re.search(r"[<>|()]", fill(phrase, dict(slots), Draw(0))), phrase


def test_each_label_has_many_ways_to_be_said():
    for label in labels():
        assert len(label.ask) >= 6
        assert len(set(label.ask)) == len(label.ask)
        assert len(label.topic) >= 2
        assert len(label.reply) >= 3


def test_a_call_keeps_its_slots():
    slots: dict[str, str] = {}
    draw = Draw(1)
    first = fill("<svc> <svc2>", slots, draw)
    assert fill("<svc> <svc2>", slots, draw) == first
    assert slots["svc"] != slots["svc2"]


def test_some_ways_to_ask_are_kept_from_training():
    ways = tuple(f"W{i}" for i in range(8))
    by_name = {label.name: replace(label, ask=ways, near=("cancel",)) for label in labels()}
    heard = {}
    for training in (True, False):
        draw = Draw(5)
        calls = [Call(by_name["change"], by_name, training, draw).tell() for _ in range(400)]
        heard[training] = {way for call in calls for turn in call for way in ways if way in turn.text.split()}
    assert heard[True] == set(ways) - {"W1", "W4", "W7"}
    assert heard[False] == set(ways)


def test_draw_is_the_sequence_python_promises():
    draw = Draw(0)
    assert [draw.below(1000) for _ in range(4)] == [844, 757, 420, 258]
    items = list(range(10))
    draw.shuffle(items)
    assert sorted(items) == list(range(10))
    assert items != list(range(10))
    early = Counter(draw.early_one_of("abcd") for _ in range(4000))
    assert early["a"] > early["b"] > early["c"] > early["d"] > 0


def test_noise():
    text = "Please cancel the roaming bundle on my line, I don't use it any more."
    assert spoken(text, 0.0, Draw(0)) == text
    assert spoken(text, 0.3, Draw(0)) != text
    broken = cut_off(text, Draw(0))
    assert broken.endswith("--")
    assert text.startswith(broken[:-2])
    assert len(broken) < len(text)


def test_load_needs_no_torch():
    code = "import sys; from lrsl.data.telecom34 import load; load(); sys.exit('torch' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0
