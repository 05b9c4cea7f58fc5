import logging

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from lrsl.classifiers.encoder import pool
from lrsl.config.schema import EmbeddingConfig
from lrsl.embedding.text_embedding import (
    by_length,
    configured_embedding,
    encode,
    load_embedding,
    save_embedding,
    watched,
)
from lrsl.errors import InputError
from lrsl.nn.batches import padded
from lrsl.nn.pretrained import load_encoder, load_tokenizer

TEXTS = ["card1", "loan1 loan2 the rate3 a please", "cash4 cash1 the", "rate " * 30]


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("network", ["tiny_bert", "tiny_roberta"])
def test_a_plain_encoder_gets_the_pooling_asked_for(request, network, pooling):
    folder = str(request.getfixturevalue(network))
    found = encode(load_embedding(folder, pooling=pooling, max_length=256), TEXTS)

    tokenizer = load_tokenizer(folder)
    batch = padded(tokenizer, TEXTS, 24)
    with torch.no_grad():
        pooled = pool(load_encoder(folder)(**batch).last_hidden_state, batch["attention_mask"], pooling)
    torch.testing.assert_close(found, torch.nn.functional.normalize(pooled), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(len(TEXTS)))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_saved_folder_gives_the_same_vectors(tiny_bert, tmp_path, pooling):
    embedding = load_embedding(str(tiny_bert), pooling=pooling, max_length=12)
    with torch.no_grad():  # as training would
        for parameter in embedding.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    expected = encode(embedding, TEXTS)
    save_embedding(embedding, tmp_path / "saved")

    plain = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    np.testing.assert_allclose(plain.encode(TEXTS), expected.numpy(), rtol=0, atol=1e-6)
    assert plain.max_seq_length == 12
    for asked in (None, pooling):
        torch.testing.assert_close(encode(load_embedding(str(tmp_path / "saved"), pooling=asked), TEXTS), expected)


def test_somebody_may_watch_how_far_encoding_is(tiny_bert):
    embedding, seen = load_embedding(str(tiny_bert)), []
    with watched(seen.append):
        encode(embedding, TEXTS, batch_size=2)
    assert sum(seen) == len(TEXTS)
    assert len(seen) > 1
    encode(embedding, TEXTS)
    assert sum(seen) == len(TEXTS)


def test_another_pooling_than_the_folder_brings_is_refused(tiny_bert, tmp_path):
    save_embedding(load_embedding(str(tiny_bert)), tmp_path)
    sentence = rf"embedding.pooling=cls has no effect: embedding.pretrained={tmp_path} brings its own, which is mean; "
    with pytest.raises(InputError, match=sentence + "leave embedding.pooling out"):
        configured_embedding(EmbeddingConfig(pretrained=str(tmp_path), pooling="cls"))


def test_batched_vectors_equal_single_ones_in_the_order_given(tiny_bert):
    embedding = load_embedding(str(tiny_bert))
    together = encode(embedding, TEXTS, batch_size=3)
    alone = torch.cat([encode(embedding, [text]) for text in TEXTS])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_vectors_are_those_of_the_library(tiny_bert):
    embedding = load_embedding(str(tiny_bert))
    texts = [*TEXTS, "", " ".join(TEXTS * 40), f"  {TEXTS[0]} "]
    np.testing.assert_allclose(encode(embedding, texts).numpy(), embedding.encode(texts), rtol=0, atol=1e-6)


def test_a_model_keeps_its_mode(tiny_bert):
    embedding = load_embedding(str(tiny_bert)).train()
    first, second = encode(embedding, TEXTS), encode(embedding, TEXTS)
    assert torch.equal(first, second)  # no dropout
    assert embedding.training
    assert not first.is_inference()


@given(lengths=st.lists(st.integers(1, 500), max_size=60), size=st.integers(1, 9), slack=st.sampled_from([1, 1.25, 9]))
def test_batches_hold_each_row_once_and_little_padding(lengths, size, slack):
    batches = list(by_length(lengths, size, slack))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        of_batch = [lengths[row] for row in batch]
        assert 1 <= len(batch) <= size
        assert of_batch == sorted(of_batch)
        assert of_batch[-1] <= slack * of_batch[0]


def test_no_text_gives_no_vector(tiny_bert):
    assert encode(load_embedding(str(tiny_bert)), []).shape == (0, 32)


def test_the_longest_input_never_exceeds_the_positions(tiny_bert, tiny_roberta):
    for folder in (tiny_bert, tiny_roberta):
        assert load_embedding(str(folder), max_length=256).max_seq_length == 24
        assert load_embedding(str(folder), max_length=8).max_seq_length == 8


def test_half_precision_weights_are_loaded_as_float32(tiny_bert, tmp_path):
    save_embedding(load_embedding(str(tiny_bert)).bfloat16(), tmp_path)
    assert {parameter.dtype for parameter in load_embedding(str(tmp_path)).parameters()} == {torch.float32}


def test_half_precision_weights_are_loaded_without_a_word(tiny_bert, tmp_path, caplog):
    save_embedding(load_embedding(str(tiny_bert)).half(), tmp_path)
    once = logging.Logger.warning_once  # which transformers adds; it warns once per process
    once.cache_clear()
    load_embedding(str(tmp_path))
    assert not caplog.records
    once.cache_clear()
    SentenceTransformer(str(tmp_path), device="cpu")
    assert "torch.float16" in caplog.text


def test_an_unknown_name_is_one_sentence():
    with pytest.raises(InputError, match="pretrained=nobody/nothing-of-the-kind is neither") as caught:
        load_embedding("nobody/nothing-of-the-kind")
    assert "\n" not in str(caught.value)
