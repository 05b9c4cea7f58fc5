"""What people bring to a reranker: by position, whatever it is in, or refused in one sentence that names it."""

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from test_reranker import LABELS, RECIPE, TEST, TRAIN, VAL
from tiny import VOCABULARY

from lrsl import Instances, LabelSimilarity, Lexical, Reranker
from lrsl.embedding.text_embedding import encode, load_embedding
from lrsl.errors import InputError
from lrsl.plugin import fitting as module

SHUFFLED = np.random.default_rng(0).permutation(len(TEST.texts))
NAMED = [LABELS[label] for label in VAL.labels]


@pytest.fixture(scope="module")
def embedding(tiny_bert):
    return load_embedding(str(tiny_bert))


@pytest.fixture(scope="module")
def fitted(embedding):
    return Reranker(embedding, LABELS).fit(VAL.logits, VAL.labels, VAL.texts)


@pytest.fixture(scope="module")
def static():
    """An embedder without a transformer."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({word: row for row, word in enumerate(["?", *VOCABULARY])}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    weights = np.random.default_rng(0).normal(size=(len(VOCABULARY) + 1, 16)).astype(np.float32)
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, weights)], device="cpu")


def test_an_index_changes_nothing(fitted):
    logits = TEST.logits.numpy()
    texts = pd.Series(TEST.texts, index=SHUFFLED)
    frame = pd.DataFrame(logits, columns=LABELS, index=SHUFFLED[::-1])
    for method in (fitted.predict, fitted.rerank):
        expected = method(logits, TEST.texts)
        for of, given in ((logits, texts), (frame, texts), (frame, np.array(TEST.texts)), (logits.tolist(), texts)):
            found = method(of, given)
            assert isinstance(found, np.ndarray)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert np.array_equal(fitted.is_hard(frame), fitted.is_hard(logits))
    with pytest.raises(ValueError, match="the columns of logits are the classes in another order; give logits"):
        fitted.is_hard(frame[LABELS[::-1]])


class Series:
    """A column as polars has it: no index, no `tolist`, and `to_list` for Python's own objects."""

    def __init__(self, values):
        self._values = list(values)
        self.shape = (len(self._values),)

    def __iter__(self):
        return iter(self._values)

    def to_list(self):
        return list(self._values)

    def to_numpy(self):
        return np.array(self._values)


class Frame:
    """A frame as polars has it, whose iterator goes over the columns."""

    def __init__(self, columns):
        self._columns = columns
        self.columns = list(columns)

    def __iter__(self):
        return iter(self._columns.values())

    def to_numpy(self):
        return np.stack([column.to_numpy() for column in self._columns.values()], axis=1)


def test_columns_of_polars_are_taken(fitted, embedding):
    logits, texts = TEST.logits.numpy(), Series(TEST.texts)
    expected = fitted.predict(logits, TEST.texts)
    wide = Frame({label: Series(logits[:, column]) for column, label in enumerate(LABELS)})
    for given in (wide, Series(logits.tolist())):
        assert np.array_equal(fitted.predict(given, texts), expected)
    turned = Frame(dict(reversed(wide._columns.items())))
    with pytest.raises(ValueError, match="the columns of logits are the classes in another order"):
        fitted.predict(turned, texts)
    again = Reranker(embedding, Series(LABELS)).fit(VAL.logits, Series(NAMED), Series(VAL.texts))
    assert again.report_ == fitted.report_


def test_a_column_of_datasets_is_taken(fitted):
    rows = datasets.Dataset.from_dict({"text": TEST.texts, "logits": TEST.logits.tolist()})
    expected = fitted.predict(TEST.logits.numpy(), TEST.texts)
    assert np.array_equal(fitted.predict(rows["logits"], rows["text"]), expected)


def test_series_and_names_fit_like_lists_and_numbers(embedding):
    rows = VAL.logits.tolist(), pd.Series(NAMED, index=range(60, 0, -1)), pd.Series(VAL.texts, index=range(7, 67))
    again = Reranker(embedding, pd.Series(LABELS, index=[3, 1, 2, 0])).fit(*rows)
    assert again.label_texts == LABELS
    plain = Reranker(embedding, LABELS).fit(VAL.logits.double(), VAL.labels, VAL.texts)
    assert again.report_ == plain.report_


def test_training_rows_are_taken_by_position_too(embedding, tmp_path):
    train = (
        pd.Series(TRAIN.texts, index=range(160, 0, -1)),
        pd.Series([LABELS[label] for label in TRAIN.labels], dtype="category"),
        pd.DataFrame(TRAIN.logits.numpy(), index=range(160, 0, -1)),
    )
    views = [LabelSimilarity(), Instances(), Lexical()]
    plain = (TRAIN.texts, TRAIN.labels, TRAIN.logits.double())
    reports = [
        Reranker(embedding, LABELS, views=views, rule="fitted")
        .fit(VAL.logits, VAL.labels, VAL.texts, train=given, negatives="confused", **{**RECIPE, "epochs": 1})
        .report_
        for given in (train, plain)
    ]
    assert reports[0] == reports[1]


def test_whole_numbers_are_logits(fitted):
    logits = (10 * TEST.logits).round().long()
    assert torch.equal(fitted.is_hard(logits), fitted.is_hard(logits.double()))
    assert torch.equal(fitted.predict(logits, TEST.texts), fitted.predict(logits.double(), TEST.texts))
    assert fitted.is_hard(logits.tolist()).tolist() == fitted.is_hard(logits).tolist()


@pytest.mark.parametrize("rows", [slice(None), slice(1)], ids=["all rows", "one row"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_probabilities_are_refused_wherever_logits_are_wanted(fitted, embedding, rows, dtype):
    asked = TEST.logits[rows].softmax(-1).to(dtype)
    texts = TEST.texts[rows]
    unfitted = Reranker(embedding, LABELS)
    for call in (
        lambda: fitted.is_hard(asked),
        lambda: fitted.predict(asked, texts),
        lambda: fitted.rerank(asked.numpy(), texts),
        lambda: fitted.predict_set(asked, texts),
        lambda: unfitted.fit(asked, TEST.labels[rows], texts),
    ):
        with pytest.raises(ValueError, match=r"^logits are probabilities: .* log-probabilities, such as np\.log\("):
            call()


def test_their_logarithms_say_the_same_as_logits(fitted):
    logarithms = np.log(np.maximum(TEST.logits.double().softmax(-1).numpy(), 1e-12))
    assert np.array_equal(fitted.is_hard(logarithms), fitted.is_hard(TEST.logits.numpy()))
    assert np.array_equal(fitted.predict(logarithms, TEST.texts), fitted.predict(TEST.logits.numpy(), TEST.texts))


@pytest.mark.parametrize(
    ("label_texts", "message"),
    [
        (
            dict(enumerate(LABELS)),
            r"label_texts are a mapping \(dict\), whose keys are no positions; give a list with a",
        ),
        (set(LABELS), r"label_texts are a set \(set\), which has no order"),
        ("card", "label_texts are a single string, 'card'"),
        ([*LABELS[:3], None], r"label_texts\[3\] is None; it must be a string"),
        (range(4), r"label_texts\[0\] is 0; it must be a string"),
        (None, "label_texts are None"),
    ],
)
def test_label_texts_are_strings_in_an_order(embedding, label_texts, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Reranker(embedding, label_texts)


def test_a_fraction_of_k_is_refused_and_numpys_numbers_are_saved(embedding, tmp_path):
    with pytest.raises(ValueError, match=r"^k is 2\.5; with 4 classes it must be 2 to 4"):
        Reranker(embedding, LABELS, 2.5)
    Reranker(embedding, LABELS, np.int64(2)).fit(VAL.logits, VAL.labels, VAL.texts).save_pretrained(tmp_path)
    assert Reranker.from_pretrained(tmp_path).k == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": VAL.labels[:, None]}, r"labels are of shape \(60, 1\)"),
        ({"labels": torch.eye(4)[VAL.labels]}, r"labels are of shape \(60, 4\)"),
        ({"labels": VAL.labels * 0.9}, r"labels\[\d+\] is \d\.\d+; with 4 classes it must be a whole number"),
        (
            {"labels": VAL.labels.masked_fill(VAL.labels == 2, -100)},
            r"labels\[\d+\] is -100; .* leave out rows without",
        ),
        ({"labels": ["none", *NAMED[1:]]}, r"labels\[0\] is 'none', which is none of the label texts"),
        ({"texts": [None, *VAL.texts[1:]]}, r"texts\[0\] is None; it must be a string"),
        ({"texts": dict(enumerate(VAL.texts))}, r"texts are a mapping"),
        ({"texts": "card" * 15}, r"texts are a single string"),
        ({"logits": dict(enumerate(VAL.logits))}, r"logits are a mapping"),
    ],
)
def test_what_cannot_be_taken_by_position_is_refused(embedding, change, message):
    given = {"logits": VAL.logits, "labels": VAL.labels, "texts": VAL.texts, **change}
    with pytest.raises(ValueError, match=f"^{message}"):
        Reranker(embedding, LABELS).fit(**given)


@pytest.mark.parametrize("texts", [None, dict(enumerate(TEST.texts)), set(TEST.texts), "card", [None] * 50])
def test_texts_that_cannot_be_taken_by_position_are_refused_when_asked(fitted, texts):
    for method in (fitted.predict, fitted.rerank, fitted.predict_set):
        with pytest.raises(ValueError, match=r"^texts(\[0\])? (are|is) "):
            method(TEST.logits, texts)


def test_labels_the_embedder_cannot_tell_apart_are_an_error_before_anything_is_trained(embedding, monkeypatch):
    def train(*_):
        raise AssertionError("it trains")

    monkeypatch.setattr(module, "finetuned", train)
    strange = ["card", "业务", "资费", "loan"]
    message = (
        r"^the embedder cannot tell 2 of 4 labels apart, whose texts have the same vectors: '业务' and '资费'; take an"
    )
    rows, given = (VAL.logits, VAL.labels, VAL.texts), (TRAIN.texts, TRAIN.labels, None)
    with pytest.raises(InputError, match=message):
        Reranker(embedding, strange).fit(*rows)
    for views in ([LabelSimilarity()], [Lexical()]):  # label texts are what it is fine-tuned to
        with pytest.raises(InputError, match=message):
            Reranker(embedding, strange, views=views, rule="fitted").fit(*rows, train=given)
    for embedder, recipe in ((embedding, {"finetune": False}), (None, {})):  # nobody embeds them
        views = [Lexical()] if embedder is None else [Lexical(), Instances()]
        Reranker(embedder, strange, views=views, rule="fitted").fit(*rows, train=given, **recipe)


def test_labels_that_look_alike_are_warned_of():
    with pytest.warns(UserWarning, match=r"stand for several classes: 'card' and 'Card\\u200b'$"):
        Reranker(None, ["card", "cash", "Card\u200b"], views=[Lexical()])


def test_an_embedder_without_a_transformer_is_not_fine_tuned_but_taken_as_it_is(static):
    rows, given = (VAL.logits, VAL.labels, VAL.texts), (TRAIN.texts, TRAIN.labels, None)
    Reranker(static, LABELS).fit(*rows)
    with pytest.raises(
        InputError, match=r"^an embedder of StaticEmbedding cannot be fine-tuned, since .*finetune=False"
    ):
        Reranker(static, LABELS).fit(*rows, train=given)
    taken = Reranker(static, LABELS, rule="fitted").fit(*rows, train=given, finetune=False)
    assert taken.embedding is static
    assert len(taken.views) == 4
    assert "embedding_accuracy" not in taken.report_


@pytest.mark.parametrize("key", ["max_length", "pooling", "pretrained", "name"])
def test_a_key_that_the_embedder_decides_is_refused(embedding, key):
    value = {"max_length": 8}.get(key, "cls")
    reranker, train = Reranker(embedding, LABELS), (TRAIN.texts, TRAIN.labels, None)
    with pytest.raises(InputError, match=f"^{key} has no effect on an embedder that is there already"):
        reranker.fit(VAL.logits, VAL.labels, VAL.texts, train=train, **{key: value})


@pytest.mark.parametrize(("key", "value"), [("encoder_dropout", 0.5), ("attention", "eager")])
def test_a_key_of_the_network_is_honoured(embedding, key, value):
    def tuned(**recipe):
        train = (TRAIN.texts, TRAIN.labels, None)
        given = {**RECIPE, "epochs": 1, **recipe}
        return Reranker(embedding, LABELS).fit(VAL.logits, VAL.labels, VAL.texts, train=train, **given).embedding

    network = tuned(**{key: value}).transformers_model
    if key == "attention":
        assert network.config._attn_implementation == value != embedding.transformers_model.config._attn_implementation
    else:
        vectors = [encode(tuned(encoder_dropout=dropout), VAL.texts) for dropout in (0.0, value)]
        assert not torch.allclose(*vectors, atol=1e-3)


@pytest.mark.parametrize(
    ("given", "recipe", "expected"),
    [(2, {}, 2), (3, {}, 3), (3, {"k": 1}, 1)],
    ids=["the reranker's", "another of the reranker's", "one of its own"],
)
def test_k_says_how_many_confused_labels_there_are(embedding, monkeypatch, given, recipe, expected):
    asked = []
    monkeypatch.setattr(module, "finetuned", lambda embedding, *args: asked.append(args[-1].k) or (embedding, [0.0]))
    train = (TRAIN.texts, TRAIN.labels, TRAIN.logits)
    reranker = Reranker(embedding, LABELS, given)
    reranker.fit(VAL.logits, VAL.labels, VAL.texts, train=train, negatives="confused", **recipe)
    assert asked == [expected]
