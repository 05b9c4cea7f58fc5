"""The vectors of an embedding are those that sentence-transformers gives, whatever the embedding is and is set to."""

import copy
import json
import warnings

import networks
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding, Transformer
from tiny import LABELS, samples
from transformers import AutoTokenizer, ConvBertConfig, ConvBertModel, FNetConfig, FNetModel

from lrsl import Reranker
from lrsl.config.schema import EmbeddingConfig
from lrsl.data.corpus import Split
from lrsl.embedding.finetuning import embedding_settings, finetuned
from lrsl.embedding.inputs import Inputs, longest_of, prompt_of, sees_padding
from lrsl.embedding.label_ranking import LabelRanking
from lrsl.embedding.text_embedding import (
    configured_embedding,
    encode,
    load_embedding,
    save_embedding,
)
from lrsl.errors import InputError
from lrsl.nn.batches import pad, tokenize
from lrsl.nn.dropout import ATTENTION

TEXTS = ["card1", "loan1 loan2 the rate3 a please", "cash4 cash1 the", "  card  ", "", " ".join(["rate word7"] * 60)]
READ_BY_ALL = sorted(set(networks.KINDS) - {"vit", "bart"})


def by_library(embedding, texts=TEXTS):
    with torch.no_grad():
        return embedding.encode(texts, normalize_embeddings=True, show_progress_bar=False)


def written(kind, folder, **changed):
    return networks.write(kind, folder, limit=60, **changed)


@pytest.mark.parametrize("kind", READ_BY_ALL)
def test_the_vectors_of_any_network_are_the_librarys_before_and_after_saving(tmp_path, kind):
    written(kind, tmp_path / "model")
    plain = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    embedding = configured_embedding(EmbeddingConfig(pretrained=str(tmp_path / "model")))
    plain.max_seq_length = embedding.max_seq_length
    expected = by_library(plain)
    np.testing.assert_allclose(encode(embedding, TEXTS).numpy(), expected, rtol=0, atol=1e-5)
    save_embedding(embedding, tmp_path / "saved")
    again = load_embedding(str(tmp_path / "saved"))
    np.testing.assert_allclose(encode(again, TEXTS).numpy(), expected, rtol=0, atol=1e-5)
    plain = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    np.testing.assert_allclose(by_library(plain), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["gemma2", "llama", "mistral", "modernbert", "deberta", "t5", "mpnet", "gpt2"])
def test_what_does_not_attend_as_bert_keeps_its_own_attention(tmp_path, kind):
    embedding = configured_embedding(EmbeddingConfig(pretrained=str(written(kind, tmp_path))))
    assert embedding.transformers_model.config._attn_implementation != ATTENTION


@pytest.mark.parametrize("kind", ["gemma2", "llama", "mistral", "qwen2", "modernbert", "opt", "gpt2"])
def test_the_quick_attention_leaves_to_the_library_what_it_does_not_understand(tmp_path, kind):
    folder = str(written(kind, tmp_path))
    quick = configured_embedding(EmbeddingConfig(pretrained=folder, attention=ATTENTION))
    assert quick.transformers_model.config._attn_implementation == ATTENTION
    plain = SentenceTransformer(folder, device="cpu")
    plain.max_seq_length = quick.max_seq_length
    np.testing.assert_allclose(encode(quick, TEXTS).numpy(), by_library(plain), rtol=0, atol=1e-5)


def test_capped_scores_are_seen_in_the_vectors(tmp_path):
    found = []
    for name, cap in (("capped", 0.05), ("free", None)):
        folder = written("gemma2", tmp_path / name, attn_logit_softcapping=cap)
        found.append(encode(configured_embedding(EmbeddingConfig(pretrained=str(folder))), TEXTS))
    assert (found[0] - found[1]).abs().max() > 0.01


def prompted(folder, *, include=True, pooling="mean", truncate=None, name="query"):
    transformer = Transformer(str(folder))
    modules = [
        transformer,
        Pooling(transformer.get_embedding_dimension(), pooling_mode=pooling, include_prompt=include),
    ]
    return SentenceTransformer(
        modules=modules,
        device="cpu",
        prompts={"query": "please the loan4 ", "passage": ""},
        default_prompt_name=name,
        truncate_dim=truncate,
    )


@pytest.mark.parametrize("kind", ["bert", "roberta", "llama"])
@pytest.mark.parametrize(
    ("settings", "matters"),
    [
        ({}, True),
        ({"include": False}, True),
        ({"include": False, "pooling": "cls"}, True),
        ({"truncate": 8}, True),
        ({"truncate": 8, "include": False, "pooling": "max"}, True),
        ({"name": "passage"}, False),
        ({"name": None}, False),
    ],
)
def test_the_settings_of_an_embedder_hold_before_and_after_saving(tmp_path, kind, settings, matters):
    folder = written(kind, tmp_path / "model")
    embedder = prompted(folder, **settings)
    expected = by_library(embedder)
    assert expected.shape == (len(TEXTS), settings.get("truncate") or 32)
    bare = prompted(folder, name=None, pooling=settings.get("pooling", "mean"))
    differs = expected.shape != (len(TEXTS), 32) or abs(expected - by_library(bare)).max() > 1e-3
    assert differs == matters

    np.testing.assert_allclose(encode(embedder, TEXTS).numpy(), expected, rtol=0, atol=1e-5)
    assert encode(embedder, []).shape == (0, expected.shape[1])
    save_embedding(embedder, tmp_path / "saved")
    for again in (load_embedding(str(tmp_path / "saved")), load_embedding(str(tmp_path / "saved"), max_length=60)):
        np.testing.assert_allclose(encode(again, TEXTS).numpy(), expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(by_library(again), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"include": False}, {"truncate": 8}, {"truncate": 8, "include": False}])
@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_fine_tuning_sees_what_encode_sees(tmp_path, kind, settings):
    embedder = prompted(written(kind, tmp_path), **settings).eval()
    ranking = LabelRanking(embedder, LABELS, EmbeddingConfig())
    with torch.no_grad():
        found = F.normalize(ranking.encode_labels(range(len(LABELS))), dim=-1)
        np.testing.assert_allclose(found.numpy(), by_library(embedder, LABELS), rtol=0, atol=1e-5)
        rows = ranking.samples(Split([str(row) for row in range(6)], TEXTS, [0] * 6))
        found = F.normalize(ranking.encode(rows.collate([rows[row] for row in range(6)])), dim=-1)
    np.testing.assert_allclose(found.numpy(), by_library(embedder), rtol=0, atol=1e-5)


def test_an_embedder_with_a_prompt_is_fine_tuned_with_it_and_keeps_it(tiny_bert, tmp_path):
    embedder = prompted(tiny_bert, truncate=16)
    texts, labels = samples(80, seed=1)
    before = by_library(embedder)
    settings = embedding_settings(epochs=1, lr=1e-3)
    gold = torch.tensor(labels)
    tuned, _ = finetuned(embedder, LABELS, (texts, gold, None), (texts, gold), settings)
    assert prompt_of(tuned) == "please the loan4 "
    assert tuned.truncate_dim == 16
    np.testing.assert_array_equal(by_library(embedder), before)
    np.testing.assert_allclose(encode(tuned, TEXTS).numpy(), by_library(tuned), rtol=0, atol=1e-5)
    assert abs(by_library(tuned) - before).max() > 1e-3


def test_a_reranker_gives_the_same_before_and_after_saving_whatever_its_embedder_is_set_to(tiny_bert, tmp_path):
    texts, labels = samples(80, seed=3)
    logits = torch.randn(80, len(LABELS), generator=torch.Generator().manual_seed(0))
    reranker = Reranker(prompted(tiny_bert, truncate=8, include=False), LABELS)
    reranker.fit(logits, torch.tensor(labels), texts)
    before = reranker.rerank(logits, texts)
    reranker.save_pretrained(tmp_path)
    after = Reranker.from_pretrained(tmp_path).rerank(logits, texts)
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)


def test_a_setting_that_an_earlier_library_does_not_save_is_saved(tiny_bert, tmp_path, monkeypatch):
    embedder = prompted(tiny_bert, truncate=8)
    monkeypatch.setattr(type(embedder), "_get_model_config", lambda self: {"prompts": self.prompts})
    save_embedding(embedder, tmp_path)
    assert json.loads((tmp_path / "config_sentence_transformers.json").read_text())["truncate_dim"] == 8
    assert encode(load_embedding(str(tmp_path)), TEXTS).shape == (6, 8)


def test_a_similarity_that_is_not_the_cosine_is_said(tiny_bert, tmp_path):
    embedder = prompted(tiny_bert)
    embedder.similarity_fn_name = "dot"
    save_embedding(embedder, tmp_path / "dot")
    with pytest.warns(
        UserWarning, match="is made for dot similarity, and here its vectors are compared by their cosines"
    ):
        load_embedding(str(tmp_path / "dot"))
    with pytest.warns(UserWarning, match="^the embedder is made for dot similarity"):
        Reranker(embedder, LABELS)
    save_embedding(prompted(tiny_bert), tmp_path / "cosine")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_embedding(str(tmp_path / "cosine"))


@pytest.mark.parametrize("kind", ["mpnet", "roberta", "xlm_roberta", "camembert", "data2vec", "longformer", "esm"])
def test_a_tokenizer_that_does_not_say_its_limit_reads_what_the_network_can(tmp_path, kind):
    folder = str(networks.write(kind, tmp_path / "model"))
    for embedding in (
        load_embedding(folder),
        load_embedding(folder, max_length=256),
        SentenceTransformer(folder, device="cpu"),  # as handed in
    ):
        assert longest_of(embedding) == 62
        assert encode(embedding, TEXTS).shape == (6, 32)
        ranking = LabelRanking(embedding, LABELS, EmbeddingConfig())
        assert ranking.max_length == 62
        longest = max(map(len, ranking.samples(Split(["0"], [TEXTS[-1]], [0])).input_ids))
        assert longest == 62


def test_what_prepares_texts_in_its_own_way_is_encoded_by_itself_and_not_fine_tuned(tiny_bert, tmp_path, monkeypatch):
    tokenizer = load_embedding(str(tiny_bert)).tokenizer
    static = SentenceTransformer(modules=[StaticEmbedding(tokenizer.backend_tokenizer, embedding_dim=8)], device="cpu")
    np.testing.assert_allclose(encode(static, TEXTS[:3]).numpy(), by_library(static, TEXTS[:3]), rtol=0, atol=1e-6)
    with pytest.raises(InputError, match="cannot be fine-tuned here: its StaticEmbedding prepares texts"):
        LabelRanking(static, LABELS, EmbeddingConfig())

    static.save_pretrained(str(tmp_path), create_model_card=False)
    loaded = configured_embedding(EmbeddingConfig(pretrained=str(tmp_path), max_length=4, finetune=False))
    assert torch.equal(encode(loaded, TEXTS), encode(static, TEXTS))  # it reads without end, whatever max_length is

    odd = load_embedding(str(tiny_bert))
    plain = odd.preprocess
    monkeypatch.setattr(odd, "preprocess", lambda texts, **more: plain([f"a {text}" for text in texts], **more))
    assert Inputs.of(odd) is None
    np.testing.assert_allclose(encode(odd, TEXTS).numpy(), by_library(odd), rtol=0, atol=1e-6)
    assert (encode(odd, TEXTS) - encode(load_embedding(str(tiny_bert)), TEXTS)).abs().max() > 1e-3


def test_a_network_of_images_is_one_sentence(tmp_path):
    for load in (load_embedding, lambda folder: Reranker(folder, LABELS)):
        with pytest.raises(
            InputError, match=r"is no text embedding: it cannot encode a text \(.+\); give one"
        ) as caught:
            load(str(networks.write("vit", tmp_path)))
        assert "\n" not in str(caught.value)


def test_the_first_token_of_what_reads_from_left_to_right_is_no_vector_of_the_text(tmp_path):
    folder = str(written("llama", tmp_path))
    with pytest.raises(InputError, match=r"^embedding.pooling=cls makes all texts alike: .*set embedding.pooling=mean"):
        configured_embedding(EmbeddingConfig(pretrained=folder, pooling="cls"))
    vectors = encode(configured_embedding(EmbeddingConfig(pretrained=folder)), ["card1 loan1", "card1 rate3"])
    assert (vectors[0] - vectors[1]).abs().max() > 1e-3


def test_the_batch_of_texts_of_all_lengths_is_that_of_single_ones(tmp_path):
    embedding = load_embedding(str(written("llama", tmp_path)))
    inputs = Inputs.of(embedding)
    ids = [tokens["input_ids"] for tokens in tokenize(embedding.tokenizer, [(text,) for text in TEXTS[:3]], 60)]
    with torch.no_grad():
        together = copy.deepcopy(inputs)(pad(ids, 0))
        alone = torch.cat([inputs(pad([of_text], 0)) for of_text in ids])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["fnet", "convbert"])
def test_a_text_has_one_vector_whatever_stands_beside_it(tiny_bert, tmp_path, kind):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "fnet":
            FNetModel(FNetConfig(**sizes, max_position_embeddings=24)).save_pretrained(tmp_path)
        else:
            config = ConvBertConfig(**sizes, num_attention_heads=2, embedding_size=32, max_position_embeddings=24)
            ConvBertModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    embedding = load_embedding(str(tmp_path))
    alone = torch.cat([encode(embedding, [text]) for text in TEXTS])
    np.testing.assert_allclose(encode(embedding, TEXTS).numpy(), alone.numpy(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        alone.numpy(), np.concatenate([by_library(embedding, [text]) for text in TEXTS]), atol=1e-6
    )
    assert np.abs(by_library(embedding) - alone.numpy()).max() > 1e-4  # whose batch is padded
    assert sees_padding(Inputs.of(embedding))
    assert not sees_padding(Inputs.of(load_embedding(str(tiny_bert))))
