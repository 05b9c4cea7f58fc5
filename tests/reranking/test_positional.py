"""Texts, labels and logits in whatever people have them in, against plain lists."""

import collections

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrsl.reranking.positional import MANY, check_no_probabilities, labels_of, like, logits_of, texts_of
from lrsl.reranking.rule import scores_of_texts
from lrsl.reranking.view import Given, View

NAMES = ["card", "cash", "loan"]
ROWS = [[1.0, 2.5, -3.0], [0.0, 0.5, 1.0]]
TABLE = {name: [row[column] for row in ROWS] for column, name in enumerate(NAMES)}
INDEX = [7, 0]
"""An index that a frame has which was shuffled or cut."""


@pytest.mark.parametrize(
    "texts",
    [
        ["two", "one"],
        ("two", "one"),
        np.array(["two", "one"]),
        np.array(["two", "one"], dtype=object),
        np.array(["one", "two"])[::-1],
        pd.Series(["two", "one"], index=INDEX),
        pd.Series(["two", "one"], index=INDEX, dtype="category"),
        pd.Index(["two", "one"]),
        pa.array(["two", "one"]),
        pa.chunked_array([["two"], ["one"]]),
        {7: "two", 0: "one"}.values(),
        collections.deque(["two", "one"]),
        (text for text in ("two", "one")),
    ],
    ids=lambda texts: type(texts).__name__,
)
def test_texts_are_taken_in_their_order(texts):
    found = texts_of(texts)
    assert found == ["two", "one"]
    assert [type(text) for text in found] == [str, str]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({0: "one"}, r"texts are a mapping \(dict\), whose keys are no positions; give a list with a string per row"),
        ({"one"}, r"texts are a set \(set\), which has no order"),
        ({"one": 0}.keys(), r"texts are a set \(dict_keys\), which has no order"),
        ("one two", "texts are a single string, 'one two'; give a list"),
        (b"one", "texts are a single string, b'one'"),
        (None, "texts are None; give a list"),
        (3, "texts are 3; give a list"),
        (["one", None], r"texts\[1\] is None; it must be a string"),
        (["one", b"two"], r"texts\[1\] is b'two'; it must be a string"),
        (["one", ["two"]], r"texts\[1\] is \['two'\]; it must be a string"),
        (pd.Series(["one", None]), r"texts\[1\] is nan; it must be a string"),
        (np.array([1.5]), r"texts\[0\] is 1\.5; it must be a string"),
        (np.array([["one"]]), r"texts are of shape \(1, 1\); give a list"),
        (pd.DataFrame({"text": ["one"]}), r"texts are of shape \(1, 1\); give a list"),
        (pa.table({"text": ["one"]}), r"texts are of shape \(1, 1\); give a list"),
    ],
)
def test_what_are_no_texts_in_an_order_is_refused(texts, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        texts_of(texts)


@pytest.mark.parametrize(
    "labels",
    [
        [2, 0],
        (2, 0),
        [2.0, np.int8(0)],
        [torch.tensor(2), torch.tensor(0)],
        np.array([2, 0], dtype=np.uint8),
        np.array([2.0, 0.0]),
        torch.tensor([2, 0], dtype=torch.int32),
        torch.tensor([2.0, 0.0], requires_grad=True),
        pd.Series([2, 0], index=INDEX),
        pd.Series([2, 0], index=INDEX, dtype="Int64"),
        pa.array([2, 0]),
        ["loan", "card"],
        np.array(["loan", "card"]),
        pd.Series(["loan", "card"], index=INDEX),
        pd.Categorical(["loan", "card"]),  # whose codes are other numbers
        pa.chunked_array([["loan"], ["card"]]),
    ],
    ids=lambda labels: type(labels).__name__,
)
def test_labels_are_taken_in_their_order_and_by_their_names(labels):
    found = labels_of(labels, 3, NAMES)
    assert (found.dtype, found.tolist()) == (torch.int64, [2, 0])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 0.9], r"labels\[1\] is 0\.9; with 3 classes it must be a whole number, 0 to 2"),
        (np.array([0.5]), r"labels\[0\] is 0\.5; with 3 classes"),
        (torch.tensor([0.5]), r"labels\[0\] is 0\.5; with 3 classes"),
        ([float("nan")], r"labels\[0\] is nan; with 3 classes"),
        ([float("inf")], r"labels\[0\] is inf; with 3 classes"),
        (pd.Series([0, None]), r"labels\[1\] is nan; with 3 classes"),
        (pd.Series([0, None], dtype="Int64"), r"labels\[1\] is <NA>; with 3 classes"),
        ([None], r"labels\[0\] is None; with 3 classes"),
        ([1j], r"labels\[0\] is 1j; with 3 classes"),
        ([-100, 0], r"labels\[0\] is -100; with 3 classes it must be 0 to 2; leave out rows without a label"),
        (np.array([3]), r"labels\[0\] is 3; with 3 classes it must be 0 to 2$"),
        (np.array([2**63], dtype=np.uint64), r"labels\[0\] is 9223372036854775808; with 3 classes"),
        ([10**400], r"labels\[0\] is 10+; with 3 classes"),
        ([True], r"labels\[0\] is True, which does not say which class"),
        (np.array([False]), r"labels\[0\] is False, which does not say which class"),
        (np.array([[0], [1]]), r"labels are of shape \(2, 1\); give a list with the number of a class per row, 0 to 2"),
        (torch.eye(3), r"labels are of shape \(3, 3\); give a list"),
        (pd.DataFrame({"label": [0]}), r"labels are of shape \(1, 1\)"),
        ([[0], [1]], r"labels\[0\] is a row of several; with 3 classes"),
        ([np.array([0, 1])], r"labels\[0\] is a row of several; with 3 classes"),
        (torch.tensor(1), r"labels are of shape \(\); give a list"),
        ({0: 1}, r"labels are a mapping \(dict\)"),
        ({0, 1}, r"labels are a set \(set\)"),
        ("card", "labels are a single string, 'card'"),
        (None, "labels are None"),
        (["card", "Loan"], r"labels\[1\] is 'Loan', which is none of the label texts; did you mean 'loan'\?"),
        (["1"], r"labels\[0\] is '1', which is none of the label texts"),
    ],
)
def test_what_is_no_class_is_refused(labels, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        labels_of(labels, 3, NAMES)


def test_strings_are_no_classes_where_these_have_no_names():
    with pytest.raises(ValueError, match=r"^train labels\[0\] is 'card'; with 3 classes it must be a whole number"):
        labels_of(["card"], 3, what="train labels")


@pytest.mark.parametrize(
    "logits",
    [
        ROWS,
        tuple(map(tuple, ROWS)),
        [np.array(row) for row in ROWS],
        [torch.tensor(row) for row in ROWS],
        (row for row in ROWS),
        np.array(ROWS),
        np.array(ROWS, dtype=np.float16),
        np.array(ROWS, dtype=">f4"),
        np.array(ROWS, dtype=np.longdouble),
        np.array(ROWS, dtype=object),
        np.array(ROWS[::-1])[::-1],
        np.array(ROWS, order="F"),
        torch.tensor(ROWS, dtype=torch.bfloat16),
        torch.tensor(ROWS, requires_grad=True),
        torch.tensor(ROWS).to_sparse(),
        pd.DataFrame(ROWS, index=INDEX),
        pd.DataFrame(TABLE, index=INDEX, dtype="Float64"),
        pd.Series(ROWS, index=INDEX),
        pa.array(ROWS),
        pa.table(TABLE),
    ],
    ids=lambda logits: type(logits).__name__,
)
def test_logits_are_taken_in_their_order(logits):
    found = logits_of(logits, 3, names=NAMES)
    assert found.is_floating_point()
    assert not found.requires_grad
    assert found.tolist() == ROWS


def test_logits_keep_their_precision_and_whole_numbers_become_numbers():
    for dtype in (np.float16, np.float32, np.float64):
        array = np.array(ROWS, dtype=dtype)
        assert torch.equal(logits_of(array), torch.from_numpy(array))
    for whole in ([[3, 1]], np.array([[3, 1]], dtype=np.uint16), torch.tensor([[3, 1]])):
        assert torch.equal(logits_of(whole), torch.tensor([[3.0, 1.0]], dtype=torch.float64))
    tensor = torch.tensor(ROWS)
    assert logits_of(tensor).data_ptr() == tensor.data_ptr()  # not copied
    assert logits_of([], 3).shape == (0, 3)
    assert logits_of(np.zeros((0, 3)), 3).shape == (0, 3)


def test_what_cannot_be_written_to_is_not_written_to():
    array = np.array(ROWS)
    array.flags.writeable = False
    logits_of(array).zero_()
    assert array.tolist() == ROWS


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        ([1.0, 2.0, 3.0], r"logits have shape \(3,\); with 3 label texts it is \(n, 3\)"),
        (torch.zeros(2, 4), r"logits have shape \(2, 4\); with 3 label texts"),
        (torch.tensor(1.0), r"logits have shape \(\); with 3"),
        ([[1.0, 2.0], [1.0, 2.0, 3.0]], "the rows of logits have 2 to 3 values; each must have one per class"),
        ([[1.0, None, 2.0]], "logits hold None; every value must be a number"),
        ([["1", "2", "3"]], "logits hold '1'; every value must be a number"),
        ([[True, False, True]], "logits hold True; every value must be a number"),
        (torch.tensor([[True, False, True]]), r"logits are of type torch\.bool; they must be numbers"),
        ([[1j, 0, 0]], "logits hold 1j; every value"),
        ([{"card": 1.0}], r"logits hold \{'card': 1\.0\}; every value"),
        ({0: ROWS[0]}, r"logits are a mapping \(dict\), whose keys are no positions; give a matrix \(n, classes\)"),
        ({1, 2}, r"logits are a set \(set\)"),
        ("logits", "logits are a single string, 'logits'"),
        (None, "logits are None"),
        (0.5, r"logits are 0\.5"),
        (np.ma.array(ROWS, mask=np.eye(2, 3)), "logits have masked values"),
        ([[1.0, float("nan"), 2.0]], r"logits\[0, 1\] is nan; every value must be finite"),
        (np.array([[1.0, 2.0, -np.inf]]), r"logits\[0, 2\] is -inf"),
        (pd.DataFrame({"text": ["a"], "card": [1.0], "cash": [2.0]}), "logits hold 'a'; every value must be a number"),
        (
            pd.DataFrame(TABLE)[["cash", "card", "loan"]],
            r"the columns of logits are the classes in another order; give logits\[label_texts\]",
        ),
        (
            pd.DataFrame(ROWS)[[2, 0, 1]],
            r"the columns of logits are the classes in another order; give logits\.sort_in",
        ),
        (pa.table(TABLE).select([2, 1, 0]), "the columns of logits are the classes in another order"),
    ],
)
def test_what_are_no_logits_is_refused(logits, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        logits_of(logits, 3, names=NAMES)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(2, 200), st.sampled_from(["d", "f", "e"]))
def test_probabilities_of_any_size_and_precision_are_refused_and_their_logarithms_are_not(seed, n, classes, kind):
    logits = 4 * np.random.default_rng(seed).normal(size=(n, classes))
    probabilities = (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).astype(kind)
    for given_as in (probabilities, torch.from_numpy(probabilities), 100 * probabilities):
        with pytest.raises(ValueError, match=r"^logits are probabilities: none is below 0 and each row adds up to 1"):
            logits_of(given_as)
    logits_of(np.log(np.maximum(probabilities.astype("d"), 1e-12)))
    logits_of(np.concatenate([probabilities, probabilities + 0.1]))  # not all rows
    logits_of(logits)


def test_probabilities_that_were_rounded_are_probabilities_and_a_row_that_comes_near_may_not_be():
    rows = torch.tensor([[0.33, 0.33, 0.33], [0.67, 0.17, 0.17]], dtype=torch.float64)
    near = rows + torch.tensor([3, -2, 1]) * 1e-6
    for probabilities in (near.repeat(MANY, 1), rows, rows[:1], rows.float(), 100 * rows):
        with pytest.raises(ValueError, match="logits are probabilities"):
            check_no_probabilities(probabilities)
    check_no_probabilities(near)
    check_no_probabilities(near[:1])
    check_no_probabilities(rows + torch.tensor([0.0, 0.0, 0.05]))
    with pytest.raises(ValueError, match=r"such as np\.log\(np\.maximum\(p / 100, 1e-12\)\)"):
        check_no_probabilities(torch.tensor([[20.0, 80.0]]))
    check_no_probabilities(torch.ones(3, 1))
    check_no_probabilities(torch.ones(0, 4))


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, MANY - 1),
    st.integers(2, 60),
    st.sampled_from(["torch.float16", "torch.bfloat16", "2", "3", "4"]),
    st.sampled_from([list, torch.tensor, pd.DataFrame, lambda rows: [torch.tensor(row) for row in rows], np.float32]),
)
def test_few_rows_of_rounded_probabilities_are_refused_whatever_holds_them(seed, n, classes, rounding, container):
    logits = torch.from_numpy(4 * np.random.default_rng(seed).normal(size=(n, classes)))
    rounded = logits.softmax(-1)
    kind = {"torch.float16": torch.float16, "torch.bfloat16": torch.bfloat16}.get(rounding)
    rounded = rounded.round(decimals=int(rounding)) if kind is None else rounded.to(kind)
    with pytest.raises(ValueError, match=r"^logits are probabilities: none is below 0"):
        logits_of(container(rounded.tolist()))
    logits_of(container(logits.to(torch.bfloat16).tolist()))


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        (["2", "0", "1"], NAMES),
        (["LABEL_2", "LABEL_0", "LABEL_1"], NAMES),
        (["class 3", "class 1", "class 2"], NAMES),
        (["Loan", "Card", "Cash"], NAMES),
        (["lost_card", "card_arrival", "cash"], ["card arrival", "lost card", "cash"]),
        (["1", "0", "2"], ["0", "1", "2"]),
    ],
)
def test_columns_that_spell_the_classes_otherwise_are_in_their_order_or_refused(columns, names):
    with pytest.raises(ValueError, match=r"^the columns of logits are the classes in another order"):
        logits_of(pd.DataFrame(ROWS, columns=columns), 3, names=names)
    in_order = sorted(columns) if columns[0] != "lost_card" else ["card_arrival", "lost_card", "cash"]
    assert logits_of(pd.DataFrame(ROWS, columns=in_order), 3, names=names).tolist() == np.array(ROWS).tolist()


def test_columns_of_other_names_are_taken_as_they_come():
    for columns in (["b", "a", "c"], ["p7", "p3", "p5"], ["a2", "b1", "c0"], ["2", "1", "0"]):
        logits_of(pd.DataFrame(ROWS, columns=columns), 3, names=["2", "1", "0"])


def test_half_a_character_is_refused():
    with pytest.raises(ValueError, match=r"^texts\[1\] has half a character in 'a \\ud83d'; remove it"):
        texts_of(["a 😀", "a \ud83d"])


def test_logits_of_eight_bits_are_computed_in_more():
    coarse = torch.tensor(ROWS).to(torch.float8_e4m3fn)
    assert torch.equal(logits_of(coarse), coarse.float())


def test_labels_that_are_numbers_where_label_texts_are_others_are_refused():
    names = ["3", "2", "1"]
    with pytest.raises(
        ValueError, match=r"^labels are numbers, and so are the label texts, in another order: 1 may be"
    ):
        labels_of([1, 2, 1], 3, names)
    assert labels_of(["1", "2", "1"], 3, names).tolist() == [2, 1, 2]
    assert labels_of(["3", "2"], 3, names).tolist() == [0, 1]
    assert labels_of([0, 1, 2], 3, names).tolist() == [0, 1, 2]  # 0 is none of the texts
    assert labels_of([0, 2], 3, ["0", "1", "2"]).tolist() == [0, 2]
    assert labels_of([1, 2], 3, ["card", "1", "2"]).tolist() == [1, 2]


def test_a_result_is_of_the_kind_that_was_given():
    result = torch.tensor([1, 2])
    assert like(torch.tensor(ROWS), result) is result
    assert like(torch.empty(2, 3, device="meta"), result).device.type == "meta"  # for want of another device
    for logits in (ROWS, np.array(ROWS), pd.DataFrame(ROWS), pa.table(TABLE)):
        assert isinstance(like(logits, result), np.ndarray)


def test_what_views_are_given_is_taken_by_position_too():
    given = Given(
        pd.Series(NAMES, index=[2, 0, 1]), pd.Series(["two", "one"], index=INDEX), pd.Series(["loan", "card"])
    )
    assert (given.label_texts, given.texts) == (NAMES, ["two", "one"])
    assert given.training_labels.tolist() == [2, 0]
    with pytest.raises(ValueError, match=r"^label_texts are a mapping"):
        Given(dict(enumerate(NAMES)))
    asked = []
    texts = pd.Series(["two", "one"], index=INDEX)
    scores = scores_of_texts(View, lambda texts: asked.append(texts) or torch.zeros(1, 3), texts, 3)
    scores(torch.tensor([1]), torch.zeros(1, 3))
    assert asked == [["one"]]
