import networks
import pytest
import torch
from torch import nn
from transformers import Gemma2Config
from transformers.models.gemma2.modeling_gemma2 import Gemma2Attention, eager_attention_forward

from lrsl.nn.dropout import ATTENTION, QuickDropout, attends_as_bert, attention, dropout, quicken
from lrsl.nn.pretrained import adjust, load_encoder

IDS = torch.tensor([[2, 8, 9, 10, 11, 3], [2, 12, 13, 3, 0, 0]])
MASK = (IDS != 0).long()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_share_of_p_is_dropped_and_the_rest_is_scaled(p, dtype):
    torch.manual_seed(0)
    dropped = dropout(torch.ones(301, 997, dtype=dtype), p, training=True)
    assert dropped.dtype == dtype
    assert (dropped == 0).double().mean().item() == pytest.approx(p, abs=5 * (p * (1 - p) / dropped.numel()) ** 0.5)
    kept = dropped[dropped != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - p)))


def test_what_is_dropped_is_independent_of_place_and_neighbours():
    torch.manual_seed(0)
    kept = (dropout(torch.ones(4000, 64), 0.3, training=True) != 0).double()
    assert (kept.mean(0) - 0.7).abs().max() < 0.04  # every column, and so every part of a drawn number
    correlation = torch.corrcoef(kept.T) - torch.eye(64)
    assert correlation.abs().max() < 0.08


def test_the_seed_decides_and_each_call_draws_anew():
    def draw():
        return dropout(torch.ones(1000), 0.5, training=True)

    torch.manual_seed(1)
    first, second = draw(), draw()
    torch.manual_seed(1)
    assert torch.equal(draw(), first)
    assert not torch.equal(first, second)


def test_the_gradient_flows_where_values_are_kept():
    x = torch.randn(1000, requires_grad=True)
    dropped = dropout(x, 0.25, training=True)
    dropped.sum().backward()
    torch.testing.assert_close(x.grad, torch.where(dropped != 0, 1 / 0.75, 0.0))


@pytest.mark.parametrize(("p", "training"), [(0.0, True), (0.5, False)])
def test_nothing_is_dropped_without_need(p, training):
    x = torch.randn(10)
    assert torch.equal(dropout(x, p, training=training), x)


@pytest.mark.parametrize("name", ["tiny_bert", "tiny_roberta"])
def test_a_quickened_network_computes_the_same(name, request):
    folder = str(request.getfixturevalue(name))
    plain, quick = load_encoder(folder), load_encoder(folder)
    ids = IDS if name == "tiny_bert" else torch.where(MASK == 1, IDS, 1)
    quicken(quick)
    assert quick.config._attn_implementation == ATTENTION
    assert quick.state_dict().keys() == plain.state_dict().keys()
    outputs = [net(input_ids=ids, attention_mask=MASK).last_hidden_state[MASK == 1] for net in (plain, quick)]
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-5)
    for network in (plain, quick):
        network.train()
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    outputs = [net(input_ids=ids, attention_mask=MASK).last_hidden_state[MASK == 1] for net in (plain, quick)]
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-5)


def test_every_dropout_of_a_quickened_network_is_quick_and_attention_drops_too(tiny_bert):
    network = load_encoder(str(tiny_bert))
    count = sum(isinstance(module, nn.Dropout) for module in network.modules())
    adjust(network, None, None, "model")
    kinds = [type(module) for module in network.modules() if isinstance(module, nn.Dropout)]
    assert kinds == [QuickDropout] * count
    network.train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    torch.manual_seed(0)
    same = [network(input_ids=IDS, attention_mask=MASK).last_hidden_state for _ in range(2)]
    assert torch.equal(*same)
    for layer in network.encoder.layer:
        layer.attention.self.dropout.p = 0.5
    other = [network(input_ids=IDS, attention_mask=MASK).last_hidden_state for _ in range(2)]
    assert not torch.equal(*other)


def test_a_network_that_knows_its_own_attention_only_keeps_it(tiny_bert, monkeypatch):
    network = load_encoder(str(tiny_bert))
    before = network.config._attn_implementation

    def refuse(name):
        raise ValueError(f"{name} is not supported")

    monkeypatch.setattr(network, "set_attn_implementation", refuse)
    quicken(network)
    assert network.config._attn_implementation == before
    assert any(isinstance(module, QuickDropout) for module in network.modules())


def test_only_a_network_that_attends_as_bert_does_is_quickened(tiny_bert, tiny_roberta, tmp_path):
    for folder in (tiny_bert, tiny_roberta):
        assert attends_as_bert(load_encoder(str(folder)))
    for kind in ("gemma2", "llama", "modernbert", "deberta", "t5", "mpnet"):
        network = load_encoder(str(networks.write(kind, tmp_path / kind)))
        assert not attends_as_bert(network)
        before = network.config._attn_implementation
        quicken(network)
        assert network.config._attn_implementation == before


@pytest.mark.parametrize(
    "more",
    [
        {"softcap": 0.5},
        {"softcap": None, "sliding_window": None},
        {"sliding_window": 2},
        {"scaling": None},
        {"scaling": 0.3, "softcap": 2.0},
        {"head_mask": torch.tensor([1.0, 0.0, 1.0, 1.0]).view(1, 4, 1, 1)},
    ],
)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("masked", [True, False])
def test_attention_is_that_of_the_modules_own_library_function(more, groups, masked):
    torch.manual_seed(0)
    config = Gemma2Config(hidden_size=32, num_attention_heads=4, num_key_value_heads=4 // groups, head_dim=8)
    module = Gemma2Attention(config, layer_idx=0).eval()
    query, key, value = torch.randn(2, 4, 5, 8), torch.randn(2, 4 // groups, 5, 8), torch.randn(2, 4 // groups, 5, 8)
    mask = torch.full((2, 1, 5, 5), -torch.inf).triu(1) if masked else None
    found = attention(module, query, key, value, mask, **more)
    for mine, own in zip(found, eager_attention_forward(module, query, key, value, mask, **more), strict=True):
        torch.testing.assert_close(mine, own, rtol=0, atol=1e-5)
