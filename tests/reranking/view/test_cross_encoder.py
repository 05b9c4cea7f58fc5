import random

import pytest
import torch
from tiny import LABELS, samples
from tokenizers import processors
from torch.testing import assert_close
from transformers import AutoModel, AutoTokenizer

from lrsl.embedding.text_embedding import load_embedding
from lrsl.errors import InputError
from lrsl.reranking.view import Given
from lrsl.reranking.view.cross_encoder import CrossEncoder

FILLING = ["the", "a", "please"]


def naming(n, seed):
    """Return n texts that name their label, once to three times, among words that say nothing; and the labels."""
    rng = random.Random(seed)
    labels = [i % 4 for i in range(n)]
    return [
        " ".join([LABELS[label]] * rng.randint(1, 3) + rng.choices(FILLING, k=rng.randint(0, 2))) for label in labels
    ], labels


TEXTS, GOLD = samples(160, seed=3)
UNSEEN, ANSWERS = naming(40, seed=9)
CANDIDATES = torch.stack(
    [torch.tensor([label, (label + 1) % 4, (label + 2) % 4]).roll(i % 3) for i, label in enumerate(ANSWERS)]
)


@pytest.fixture(scope="module")
def bert(tiny_bert, tmp_path_factory):
    """The tiny BERT with weights so large that attention tells words apart, and a tokenizer that joins pairs."""
    folder = tmp_path_factory.mktemp("pairs")
    network = AutoModel.from_pretrained(tiny_bert)
    with torch.no_grad():
        for weights in network.parameters():
            weights.mul_(8 if weights.ndim == 2 else 1)
        network.embeddings.word_embeddings.weight.mul_(50)
    network.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    ends = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def embedding(tiny_bert):
    return load_embedding(str(tiny_bert))


def view(bert, **settings):
    return CrossEncoder(str(bert), **{"epochs": 10, "lr": 3e-3, "batch_size": 8, "max_length": 24, **settings})


def of(embedding, n=160, **more):
    return Given(LABELS, TEXTS[:n], GOLD[:n], load_embedding=lambda: embedding, **more)


@pytest.fixture(scope="module")
def fitted(bert, embedding):
    texts, labels = naming(64, seed=1)
    return view(bert).fit(Given(LABELS, texts, labels, load_embedding=lambda: embedding))


def test_it_learns_which_label_a_text_has(fitted):
    scores = fitted(UNSEEN, CANDIDATES)
    assert_close(scores.exp().sum(-1), torch.ones(40))
    answers = CANDIDATES.gather(1, scores.argmax(-1, keepdim=True)).flatten()
    assert (answers == torch.tensor(ANSWERS)).double().mean() > 0.9  # chance is a third
    assert fitted([], CANDIDATES[:0]).shape == (0, 3)


def test_a_candidate_is_scored_alike_wherever_it_stands_and_whatever_is_scored_beside(fitted):
    scores = fitted(UNSEEN, CANDIDATES)
    assert_close(fitted(UNSEEN, CANDIDATES.flip(1)).flip(1), scores, rtol=1e-4, atol=1e-4)
    assert_close(fitted(UNSEEN[3:5], CANDIDATES[3:5]), scores[3:5], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("with_example", [False, True])
def test_it_comes_back_from_tensors_alone(bert, embedding, with_example):
    made = view(bert, epochs=1, with_example=with_example)
    fitted = made.fit(of(embedding, 32))
    learnt = fitted.learnt()
    again = CrossEncoder("nowhere", max_length=24).restore(learnt, Given(LABELS, load_embedding=lambda: embedding))
    assert torch.equal(again(UNSEEN, CANDIDATES), fitted(UNSEEN, CANDIDATES))
    assert ("examples.texts" in learnt) == with_example


def test_the_same_seed_gives_the_same_weights_and_leaves_the_callers_alone(bert, embedding):
    made, given = view(bert, epochs=1), of(embedding, 32)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, other = made.fit(given), made.fit(given)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one(UNSEEN, CANDIDATES), other(UNSEEN, CANDIDATES))
    another = view(bert, epochs=1, seed=1).fit(given)
    assert not torch.equal(one(UNSEEN, CANDIDATES), another(UNSEEN, CANDIDATES))


def test_the_true_label_is_among_the_candidates_of_a_training_row(bert, embedding):
    labels = torch.tensor(GOLD[:40])
    nearest = view(bert)._candidates(of(embedding, 40), labels)
    assert nearest.shape == (40, 3)
    assert torch.equal(nearest[:, 0], labels)
    assert all(len(set(row)) == 3 for row in nearest.tolist())
    lists = torch.tensor([[0, 1, 2]] * 40)
    known = view(bert)._candidates(of(embedding, 40, candidates=lambda: lists), labels)
    assert torch.equal(known[labels != 3], lists[labels != 3])
    assert known[labels == 3].unique(dim=0).tolist() == [[0, 1, 3]]


def test_examples_follow_the_labels_text_and_a_row_is_not_its_own(bert, embedding):
    fitted = view(bert, epochs=1, with_example=True).fit(of(embedding, 32))
    near = fitted.examples.nearest(TEXTS[:1], torch.tensor([GOLD[:1]]))
    assert near == [[TEXTS[0]]]
    assert fitted.pairs(TEXTS[:1], torch.tensor([GOLD[:1]]), near) == [
        [(TEXTS[0], f"{LABELS[GOLD[0]]}: {TEXTS[0]}")],
    ]
    left = fitted.examples.nearest_of_training(torch.tensor(GOLD[:32])[:, None])
    for row, (example,) in enumerate(left):
        assert example in TEXTS[:32]
        assert example != TEXTS[row]
        assert GOLD[TEXTS.index(example)] == GOLD[row]


def test_a_file_that_would_be_written_elsewhere_is_refused(fitted, embedding):
    learnt = {**fitted.learnt(), "file.../evil.json": torch.zeros(2, dtype=torch.uint8)}
    with pytest.raises(ValueError, match=r"'\.\./evil\.json' is no file of a configuration or tokenizer"):
        CrossEncoder("nowhere").restore(learnt, Given(LABELS))


def test_what_is_missing_or_wrong_is_one_sentence(bert, embedding, tmp_path):
    with pytest.raises(ValueError, match="learns from training rows, and there are none"):
        view(bert).fit(Given(LABELS))
    with pytest.raises(RuntimeError, match="needs a text embedding"):
        view(bert).fit(Given(LABELS, TEXTS, GOLD))
    with pytest.raises(ValueError, match=r"the candidates of 160 training rows have shape \(3, 3\)"):
        view(bert).fit(of(embedding, candidates=lambda: torch.zeros(3, 3)))
    with pytest.raises(InputError, match=r"view\.pretrained="):
        CrossEncoder(str(tmp_path)).fit(of(embedding))
    with pytest.raises(ValueError, match="k is 1; it must be at least 2"):
        CrossEncoder("any", k=1)
    with pytest.raises(ValueError, match="lr is 0"):
        CrossEncoder("any", lr=0.0)


def test_pickled_weights_are_not_read(bert, embedding, tmp_path):
    for file in bert.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="safetensors"):
        CrossEncoder(str(tmp_path)).fit(of(embedding))
