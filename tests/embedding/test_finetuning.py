import copy

import numpy as np
import pytest
import torch
from tiny import LABELS, samples

from lrsl import core
from lrsl.config.schema import EmbeddingConfig
from lrsl.embedding import finetuning
from lrsl.embedding.finetuning import embedding_settings, finetuned
from lrsl.embedding.text_embedding import encode, load_embedding
from lrsl.errors import InputError


@pytest.fixture(scope="module")
def embedding(tiny_bert):
    return load_embedding(str(tiny_bert), max_length=256)


def test_an_unknown_recipe_key_is_refused():
    assert embedding_settings(epochs=2).epochs == 2
    with pytest.raises(InputError, match=r"epoch is no key of the embedding's recipe; use one of .*epochs"):
        embedding_settings(epoch=2)
    with pytest.raises(InputError, match="k=0 is too small; it must be at least 1"):
        embedding_settings(negatives="confused", k=0)
    with pytest.raises(InputError, match=r"embedding\.epochs=0"):
        embedding_settings(epochs=0)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"max_length": 64}, "max_length has no effect on an embedder that is there already; hand in one that has it"),
        ({"pooling": "cls"}, "pooling has no effect on an embedder"),
        ({"name": "mine"}, "name has no effect on an embedder"),
        ({"pretrained": "folder"}, "pretrained has no effect on an embedder"),
        ({"finetune": False, "epochs": 2}, "epochs has no effect with finetune=False; leave it out"),
        ({"k": 2}, "k has no effect with negatives=all; it goes with negatives=confused"),
    ],
)
def test_a_recipe_key_without_effect_is_refused(recipe, message):
    with pytest.raises(InputError, match=f"^{message}"):
        embedding_settings(**recipe)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"epochs": "two"}, "epochs is 'two'; it must be a whole number"),
        ({"epochs": 1.5}, "epochs is 1.5; it must be a whole number"),
        ({"batch_size": True}, "batch_size is True; it must be a whole number"),
        ({"lr": "1e-3"}, "lr is '1e-3'; it must be a number"),
        ({"scale": None}, "scale is None; it must be a number"),
        ({"negatives": 3}, "negatives is 3; it must be a string"),
        ({"attention": 1}, "attention is 1; it must be a string"),
        ({"finetune": "no"}, "finetune is 'no'; it must be True or False"),
    ],
)
def test_a_value_of_another_kind_is_refused(recipe, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        embedding_settings(**recipe)


def test_values_of_numpy_and_none_where_it_means_something_are_taken():
    found = embedding_settings(epochs=np.int64(2), lr=np.float32(0.5), scale=3, encoder_dropout=None, finetune=True)
    assert (found.epochs, found.lr, found.scale, found.encoder_dropout, found.finetune) == (2, 0.5, 3, None, True)


def test_dropout_and_attention_of_the_recipe_hold(embedding):
    train, held_out = (["card1", "loan1"], torch.tensor([0, 2]), None), (["card2"], torch.tensor([0]))
    settings = embedding_settings(epochs=1, encoder_dropout=0.25, attention="eager")
    tuned, _ = finetuned(embedding, LABELS, train, held_out, settings)
    dropouts = {layer.p for layer in tuned.modules() if isinstance(layer, torch.nn.Dropout)}
    assert (dropouts, tuned.transformers_model.config._attn_implementation) == ({0.25}, "eager")
    with pytest.raises(InputError, match="attention=none-such does not work here"):
        finetuned(embedding, LABELS, train, held_out, embedding_settings(attention="none-such"))


@pytest.fixture(scope="module")
def trained(tiny_bert):
    original = load_embedding(str(tiny_bert), max_length=256)
    texts, labels = samples(160, seed=1)
    held_out = samples(60, seed=2)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    result = finetuned(
        original,
        LABELS,
        (texts, torch.tensor(labels), None),
        (held_out[0], torch.tensor(held_out[1])),
        EmbeddingConfig(epochs=3, lr=2e-3, batch_size=32, warmup=0.0),
    )
    assert torch.equal(torch.get_rng_state(), before)  # fine-tuning draws from a generator of its own
    return original, result, held_out


def test_finetuning_learns_and_returns_its_best_epoch(trained):
    original, (embedding, accuracies), (texts, labels) = trained

    def accuracy(one):
        nearest = core.label_similarity(encode(one, texts), encode(one, LABELS)).argmax(-1)
        return (nearest == torch.tensor(labels)).double().mean().item()

    assert accuracy(embedding) == max(accuracies)
    assert accuracy(embedding) > accuracy(original) + 0.2
    assert not embedding.training


def test_finetuning_leaves_the_given_embedding_as_it_is(trained, tiny_bert):
    original, (embedding, _), _ = trained
    pristine = load_embedding(str(tiny_bert)).state_dict()
    for name, value in original.state_dict().items():
        assert torch.equal(value, pristine[name])
    assert any(not torch.equal(value, pristine[name]) for name, value in embedding.state_dict().items())


def test_finetuning_goes_back_to_the_best_epoch_and_stops_after_patience(embedding, monkeypatch):
    seen = []
    accuracies = [0.25, 1.0, 0.25, 1.0, 0.5]  # the last is never reached

    def scripted(ranking, batches):
        seen.append(next(ranking.embedding.parameters()).detach().clone())
        return accuracies[len(seen) - 1]

    monkeypatch.setattr(finetuning, "accuracy", scripted)
    tuned, measured = finetuned(
        embedding,
        LABELS,
        (["card1", "loan1"], torch.tensor([0, 2]), None),
        (["a", "b", "c", "d"], torch.arange(4)),
        EmbeddingConfig(epochs=9, lr=1e-2, batch_size=2, patience=2),
    )
    assert measured == accuracies[:4]
    assert len({tuple(weights.flatten().tolist()) for weights in seen}) == 4
    assert torch.equal(next(tuned.parameters()), seen[1])  # the first of the two that are equally good


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_an_embedder_in_half_precision_is_trained_in_float32(embedding, kind):
    texts, labels = samples(60, seed=3)
    half = copy.deepcopy(embedding).to(kind)
    settings = embedding_settings(epochs=2, batch_size=16, lr=3e-3)
    rows, held_out = (texts, torch.tensor(labels), None), (texts, torch.tensor(labels))
    trained, accuracies = finetuned(half, LABELS, rows, held_out, settings)
    assert {parameter.dtype for parameter in trained.parameters()} == {torch.float32}
    assert {parameter.dtype for parameter in half.parameters()} == {kind}
    assert accuracies == pytest.approx(finetuned(half.float(), LABELS, rows, held_out, settings)[1])
