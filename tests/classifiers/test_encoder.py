import pytest
import torch
from torch import nn

from lrsl.classifiers.encoder import EncoderClassifier, MLPHead, pool
from lrsl.config.schema import ModelConfig
from lrsl.data.corpus import Split
from lrsl.nn.batches import loader, padded
from lrsl.nn.pretrained import load_encoder, load_tokenizer

TEXTS = ["card1", "loan1 loan2 the rate3 a please", "cash4 cash1 the", "please " * 15]


@pytest.fixture(params=["tiny_bert", "tiny_roberta"])
def pretrained(request):
    return str(request.getfixturevalue(request.param))


def classifier(pretrained, **options):
    torch.manual_seed(0)
    return EncoderClassifier(load_encoder(pretrained), load_tokenizer(pretrained), 5, ModelConfig(**options)).eval()


def batch_of(pretrained, texts):
    tokenizer = load_tokenizer(pretrained)
    return padded(tokenizer, texts, 24)


def test_pooling_takes_the_first_token_or_the_mean_of_the_real_ones():
    states = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [90.0, 90.0]], [[5.0, 0.0], [90.0, 90.0], [90.0, 90.0]]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    assert pool(states, mask, "cls").tolist() == [[1, 2], [5, 0]]
    assert pool(states, mask, "mean").tolist() == [[2, 3], [5, 0]]


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_batched_logits_equal_single_ones(pretrained, pooling):
    network = classifier(pretrained, pooling=pooling)
    with torch.no_grad():
        together = network(batch_of(pretrained, TEXTS))
        alone = torch.cat([network(batch_of(pretrained, [text])) for text in TEXTS])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-3  # the texts do differ


def test_the_pooling_decides_what_the_head_sees(tiny_bert):
    batch = batch_of(str(tiny_bert), TEXTS)
    with torch.no_grad():
        cls, mean = (classifier(str(tiny_bert), pooling=pooling)(batch) for pooling in ("cls", "mean"))
    assert not torch.allclose(cls, mean, atol=1e-3)


def test_the_head_is_computed_in_float32_under_bf16_autocast(tiny_bert):
    network = classifier(str(tiny_bert), head_hidden=8)
    seen = {}
    network.encoder.register_forward_hook(lambda _, __, out: seen.update(states=out.last_hidden_state))
    batch = batch_of(str(tiny_bert), TEXTS)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = network(batch)
    with torch.no_grad():
        exact = network.head(pool(seen["states"].float(), batch["attention_mask"], "cls"))
        full = network(batch)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, exact, rtol=0, atol=1e-6)
    assert (logits - full).abs().max() > 1e-5  # autocast was on: the encoder did round


def test_the_head_is_linear_unless_it_has_a_hidden_layer():
    def kinds(head):
        return [type(layer) for layer in head]

    assert kinds(MLPHead(8, 3, dropout=0.5)) == [nn.Dropout, nn.Linear]
    deep = MLPHead(8, 3, hidden=4, dropout=0.5)
    assert kinds(deep) == [nn.Dropout, nn.Linear, nn.GELU, nn.Dropout, nn.Linear]
    assert [layer.p for layer in deep if isinstance(layer, nn.Dropout)] == [0.5, 0.5]
    assert deep(torch.zeros(2, 8)).shape == (2, 3)


def test_dropout_of_the_head_acts_in_training_only(tiny_bert):
    network = classifier(str(tiny_bert), dropout=0.5)
    batch = batch_of(str(tiny_bert), TEXTS[:1])
    network.encoder.eval()
    with torch.no_grad():
        torch.testing.assert_close(network(batch), network(batch), rtol=0, atol=0)
        network.head.train()
        assert not torch.equal(network(batch), network(batch))


def test_samples_are_the_token_ids_of_a_split_up_to_the_longest_input(tiny_bert):
    split = Split(ids=["a", "b", "c", "d"], texts=TEXTS, labels=[0, 1, 2, 3])
    network = classifier(str(tiny_bert))
    assert network.samples(split).lengths() == [3, 8, 5, 17]
    assert classifier(str(tiny_bert), max_length=6).samples(split).lengths() == [3, 6, 5, 6]
    with torch.no_grad():
        (batch,) = loader(network.samples(split))
        expected = network(batch_of(str(tiny_bert), TEXTS))
        torch.testing.assert_close(network(batch), expected[batch["index"]], rtol=0, atol=1e-5)
        loss = nn.functional.cross_entropy(network(batch), batch["label"])
        torch.testing.assert_close(network.loss(batch), loss)
