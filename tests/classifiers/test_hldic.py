import pytest
import torch
import torch.nn.functional as F
from tiny import LABELS, samples
from torch import nn

from lrsl.classifiers.build import build_network
from lrsl.classifiers.hldic import LabelAttention, LabelTree, LabelTreeNetwork
from lrsl.config.schema import HldicConfig, ModelConfig
from lrsl.data.corpus import Corpus, Split
from lrsl.errors import InputError
from lrsl.nn.batches import loader
from lrsl.nn.pretrained import load_encoder, load_tokenizer

GROUPS = ["pay", "pay", "borrow_money", "borrow_money"]
TEXTS = ["card1", "loan1 loan2 the rate3 a please", "cash4 cash1 the", "please " * 15]


@pytest.fixture(params=["tiny_bert", "tiny_roberta"])
def pretrained(request):
    return str(request.getfixturevalue(request.param))


def corpus_of(texts=TEXTS, labels=(0, 2, 1, 3), groups=GROUPS):
    split = Split([str(i) for i in range(len(texts))], list(texts), list(labels))
    return Corpus("tiny", LABELS, ["the card", "a cash", "loan", "rate please"], split, split, split, groups)


def network(pretrained, **options):
    torch.manual_seed(0)
    settings = ModelConfig(name="hldic", architecture="hldic", pretrained=pretrained, **options)
    return build_network(settings, corpus_of()).eval()


def batch_of(made, texts=TEXTS):
    data = made.samples(corpus_of(texts, range(len(texts))).train)
    return data.collate([data[i] for i in range(len(texts))])


def test_labels_start_as_what_the_encoder_makes_of_their_texts(tiny_bert):
    made = network(str(tiny_bert))
    assert isinstance(made, LabelTreeNetwork)
    encoder, tokenizer = load_encoder(str(tiny_bert)), load_tokenizer(str(tiny_bert))

    def encoded(text):
        with torch.no_grad():
            states = encoder(**tokenizer(text, return_tensors="pt", return_token_type_ids=False)).last_hidden_state
        return F.normalize(states[0].mean(0), dim=-1)

    assert made.head.labels.embeddings.requires_grad
    torch.testing.assert_close(made.head.labels.embeddings.detach()[1], encoded("a cash"), rtol=0, atol=1e-5)
    torch.testing.assert_close(made.head.groups.embeddings.detach()[0], encoded("borrow money"), rtol=0, atol=1e-5)
    assert made.head.group_of.tolist() == [1, 1, 0, 0]


def test_a_label_attends_to_what_is_like_it_and_never_to_padding():
    attention = LabelAttention(torch.eye(2, 4), ModelConfig()).eval()
    states = torch.tensor([[[9.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 5.0], [0.0, 7.0, 0.0, 0.0]]])
    with torch.no_grad():
        likeness = attention.likeness(states, torch.tensor([[1, 1, 0]]))
        again = attention.likeness(states[:, :2], torch.tensor([[1, 1]]))
    torch.testing.assert_close(likeness, again)
    assert likeness[0, 0] > 0.99  # found its token among the two
    assert likeness[0, 1].abs() < 1e-6  # its token is padding


def test_batched_logits_equal_single_ones(pretrained):
    made = network(pretrained)
    with torch.no_grad():
        together = made.both_levels(batch_of(made))
        alone = [made.both_levels(batch_of(made, [text])) for text in TEXTS]
    for level, (logits, columns) in enumerate(zip(together, (4, 2), strict=True)):
        assert logits.shape == (4, columns)
        torch.testing.assert_close(logits, torch.cat([one[level] for one in alone]), rtol=0, atol=1e-5)
        assert (logits[0] - logits[1]).abs().max() > 1e-3


def test_the_fine_decision_follows_the_coarse_one():
    torch.manual_seed(0)
    tree = LabelTree(torch.randn(2, 8), torch.randn(4, 8), torch.tensor([1, 1, 0, 0]), ModelConfig()).eval()
    states, mask, pooled = torch.randn(3, 5, 8), torch.ones(3, 5), torch.randn(3, 8)
    last = tree.groups.classifier[-1]
    with torch.no_grad():
        last.bias[:] = torch.tensor([50.0, -50.0])
        first, coarse = tree(states, mask, pooled)
        last.bias[:] = torch.tensor([-50.0, 50.0])
        second, _ = tree(states, mask, pooled)
    assert set(first.argmax(-1).tolist()) <= {2, 3}
    assert set(second.argmax(-1).tolist()) <= {0, 1}
    assert coarse.argmax(-1).tolist() == [0, 0, 0]
    # and what is expected of the groups reaches the choice within a group
    assert not torch.allclose(first[:, 2] - first[:, 3], second[:, 2] - second[:, 3], atol=1e-4)


@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
def test_the_loss_is_that_of_the_labels_and_weighted_that_of_the_groups(tiny_bert, weight):
    made = network(str(tiny_bert), hldic=HldicConfig(group_loss_weight=weight))
    batch = batch_of(made)
    with torch.no_grad():
        fine, coarse = made.both_levels(batch)
        groups = torch.tensor([[1, 1, 0, 0][label] for label in batch["label"].tolist()])
        expected = F.cross_entropy(fine, batch["label"]) + weight * F.cross_entropy(coarse, groups)
        torch.testing.assert_close(made.loss(batch), expected)
        torch.testing.assert_close(made(batch), fine)


def test_what_stands_above_the_encoder_is_computed_in_float32_under_bf16_autocast(tiny_bert):
    made = network(str(tiny_bert))
    seen = {}
    made.encoder.register_forward_hook(lambda _, __, out: seen.update(states=out.last_hidden_state))
    batch = batch_of(made)
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            logits = made(batch)
        states = seen["states"].float()
        exact, _ = made.head(states, batch["attention_mask"], states[:, 0])
        full = made(batch)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, exact, rtol=0, atol=1e-6)
    assert (logits - full).abs().max() > 1e-5  # autocast was on: the encoder did round


def test_every_part_learns_and_one_group_for_all_is_no_trouble(tiny_bert):
    corpus = corpus_of(groups=["all"] * 4)
    settings = ModelConfig(name="hldic", architecture="hldic", pretrained=str(tiny_bert))
    for made in (network(str(tiny_bert)), build_network(settings, corpus)):
        made.loss(batch_of(made)).backward()
        assert [name for name, weight in made.named_parameters() if weight.grad is None] == []
        assert all(weight.grad.isfinite().all() for weight in made.parameters())


def test_it_learns_a_small_corpus(tiny_bert):
    texts, labels = samples(64)
    corpus = corpus_of(texts, labels)
    torch.manual_seed(0)
    made = build_network(ModelConfig(name="hldic", architecture="hldic", pretrained=str(tiny_bert)), corpus)
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-2)
    (batch,) = loader(made.samples(corpus.train))
    before = made.loss(batch).item()
    for _ in range(25):
        optimizer.zero_grad()
        made.loss(batch).backward()
        nn.utils.clip_grad_norm_(made.parameters(), 1.0)
        optimizer.step()
    assert made.loss(batch).item() < before / 2


def test_labels_without_groups_are_refused(tiny_bert):
    settings = ModelConfig(name="hldic", architecture="hldic", pretrained=str(tiny_bert))
    with pytest.raises(InputError, match=r"^tiny has no groups of labels"):
        build_network(settings, corpus_of(groups=None))
