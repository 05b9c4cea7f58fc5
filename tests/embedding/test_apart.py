import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import LABELS

from lrsl.embedding.apart import SAME, check_apart, check_distinct, check_tokens, listed, look_alike
from lrsl.embedding.text_embedding import load_embedding
from lrsl.errors import InputError


@pytest.fixture(scope="module")
def embedding(tiny_bert):
    return load_embedding(str(tiny_bert))


def test_labels_whose_tokens_are_the_same_are_listed(embedding):
    check_apart(embedding, LABELS)
    with pytest.raises(
        InputError,
        match=r"^the embedder cannot tell 4 of 5 labels apart, whose texts have the same vectors: '业务' and '资费', "
        r"'card' and 'CARD'; take an embedding that knows the language of the labels, or give them other texts$",
    ):
        check_apart(embedding, ["业务", "card", "资费", "cash", "CARD"])


def test_a_tokenizer_that_gives_two_labels_the_same_tokens_is_named(embedding):
    check_tokens(embedding.tokenizer, LABELS, "view.pretrained=x")
    with pytest.raises(
        InputError,
        match=r"^view\.pretrained=x cannot tell 2 of 3 labels apart, .* same tokens: '业务' and '资费'; take a mod",
    ):
        check_tokens(embedding.tokenizer, ["业务", "card", "资费"], "view.pretrained=x")


def test_of_many_pairs_a_few_are_listed_and_the_others_counted():
    with pytest.raises(
        InputError, match=r"^embedding\.pretrained=x cannot tell 5 of 6 labels apart, .* and 5 more pairs"
    ):
        check_distinct(torch.block_diag(torch.ones(5, 5), torch.ones(1, 1)), list("abcdef"), "embedding.pretrained=x")
    assert listed([("a", "b"), ("a", "c")]) == "'a' and 'b', 'a' and 'c'"


@given(st.floats(-1, 1))
def test_labels_are_the_same_from_a_cosine_of_1_on_to_within_rounding(cosine):
    similarity = torch.tensor([[1.0, cosine], [cosine, 1.0]], dtype=torch.float64)
    if cosine > SAME:
        with pytest.raises(InputError, match="2 of 2 labels"):
            check_distinct(similarity, ["a", "b"], "it")
    else:
        check_distinct(similarity, ["a", "b"], "it")


@pytest.mark.parametrize(
    "other", ["Card", "ｃａｒｄ", "ca\u200brd", "\ufeffcard", "card ", "c\u00adard", "CA\u2060RD\u200d", "ᶜard"]
)
def test_labels_that_a_reader_takes_for_the_same_look_alike(other):
    assert look_alike(["cash", "card", "loan", other]) == [("card", other)]


def test_labels_that_only_sound_alike_do_not():
    assert look_alike(["card", "cards", "cärd", "c ard", "业务", "資費", "1", "①②", "straße"]) == []
    assert look_alike(["straße", "STRASSE", "a b", "A  B", "a\u00a0b"]) == [
        ("straße", "STRASSE"),
        ("a b", "A  B"),
        ("a b", "a\u00a0b"),
        ("A  B", "a\u00a0b"),
    ]
