import pytest
import torch
from tiny import LABELS, samples
from torch import nn

from lrsl.classifiers import aphan
from lrsl.classifiers.aphan import AdjacencyPairNetwork, Attention, PairDataset, adjacency_pairs, sentences, utterances
from lrsl.classifiers.build import build_network
from lrsl.config.schema import AphanConfig, ModelConfig
from lrsl.data.corpus import Corpus, Split, Turn
from lrsl.nn.batches import loader
from lrsl.nn.pretrained import MINILM, load_encoder, load_tokenizer

CALLS = [
    [Turn("agent", "card1 the"), Turn("customer", "loan1 loan2 rate3 please"), Turn("agent", "a")],
    [Turn("customer", "cash4 cash1")],
    [Turn("agent", "rate1"), *(Turn(who, f"card{i} please a the") for i in range(4) for who in ("customer", "agent"))],
    [Turn("agent", "the"), Turn("customer", "loan3")],
]


@pytest.fixture(params=["tiny_bert", "tiny_roberta"])
def pretrained(request):
    return str(request.getfixturevalue(request.param))


def network(pretrained, **options):
    torch.manual_seed(0)
    settings = ModelConfig(architecture="aphan", max_length=20, aphan=AphanConfig(**{"lstm_hidden": 8, **options}))
    made = AdjacencyPairNetwork(load_encoder(pretrained), load_tokenizer(pretrained), 5, settings)
    for attention in (made.head.words, made.head.pairs):  # at the start they only average
        nn.init.normal_(attention.context)
    return made.eval()


def split_of(calls):
    texts = ["\n".join(turn.text for turn in call) for call in calls]
    return Split([str(i) for i in range(len(calls))], texts, [i % 5 for i in range(len(calls))], calls)


def test_consecutive_turns_of_a_speaker_are_one_utterance():
    turns = [Turn("agent", "a"), Turn("agent", "b"), Turn("customer", "c"), Turn("agent", "d")]
    assert utterances(turns) == ["a b", "c", "d"]


@pytest.mark.parametrize("speakers", [["", "", ""], ["customer"] * 3, ["", "agent", "agent"]])
def test_turns_stay_apart_where_no_two_speakers_are_known(speakers):
    assert utterances([Turn(who, text) for who, text in zip(speakers, "abc", strict=True)]) == ["a", "b", "c"]


def test_turns_of_unknown_speakers_are_not_taken_for_one_speakers():
    turns = [Turn("agent", "a"), Turn("", "b"), Turn("", "c"), Turn("customer", "d"), Turn("customer", "e")]
    assert utterances(turns) == ["a", "b", "c", "d e"]


def test_utterances_pair_up_in_order_and_half_a_pair_stays():
    assert adjacency_pairs(["a", "b", "c", "d"], 25) == [("a", "b"), ("c", "d")]
    assert adjacency_pairs(["a", "b", "c"], 25) == [("a", "b"), ("c",)]
    assert adjacency_pairs(["a"], 25) == [("a",)]
    assert adjacency_pairs(list("abcdefg"), 2) == [("a", "b"), ("c", "d")]
    assert adjacency_pairs(list("abc"), 2) == [("a", "b"), ("c",)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It is 3.5. Why?! I said 'no.' Then I left", ["It is 3.5.", "Why?!", "I said 'no.'", "Then I left"]),
        ("one line\nanother\n\n  third ", ["one line", "another", "third"]),
        ("你好。取消套餐！“不行。”好的；谢谢", ["你好。", "取消套餐！", "“不行。”", "好的；", "谢谢"]),
        ("真的吗?不是!版本2.5很好", ["真的吗?", "不是!", "版本2.5很好"]),
        ("...", ["..."]),
        ("no mark at all", ["no mark at all"]),
    ],
)
def test_documents_are_split_into_sentences(text, expected):
    assert sentences(text) == expected


def test_no_sentence_loses_a_character():
    text = "一。二！three. four?five!六；七…八\nnine"
    assert "".join(sentences(text)) == text.replace("\n", "").replace(" ", "")


def test_attention_starts_as_the_mean_and_never_sees_padding():
    states = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [90.0, 90.0]]])
    mask = torch.tensor([[1, 1, 0]])
    attention = Attention(2)
    torch.testing.assert_close(attention(states, mask), torch.tensor([[2.0, 3.0]]))
    nn.init.constant_(attention.context, 1.0)
    changed = attention(states, mask)
    states[0, 2] = -5.0
    torch.testing.assert_close(attention(states, mask), changed)
    assert not torch.allclose(changed, torch.tensor([[2.0, 3.0]]))


def test_pairs_are_joined_as_the_encoder_knows_them():
    tokenizer = load_tokenizer(MINILM)
    pairs = [[("my card is lost", "which card"), ("the blue one",)], [("word " * 50, "yes")]]
    found = PairDataset(tokenizer, pairs, [1, 0], 16, token_types=True)
    assert [tokenizer.decode(pair["input_ids"]) for pair in found.pairs[0]] == [
        "[CLS] my card is lost [SEP] which card [SEP]",
        "[CLS] the blue one [SEP]",
    ]
    assert found.pairs[0][0]["token_type_ids"] == [0] * 6 + [1] * 3
    assert tokenizer.decode(found.pairs[1][0]["input_ids"]) == "[CLS]" + " word" * 12 + " [SEP] yes [SEP]"
    assert found.lengths() == [9 + 5, 16]
    batch = found.collate([found[1], found[0]])
    assert (batch["pairs"].tolist(), batch["label"].tolist(), batch["index"].tolist()) == ([1, 2], [0, 1], [1, 0])
    assert batch["input_ids"].shape == batch["attention_mask"].shape == batch["token_type_ids"].shape == (3, 16)
    assert batch["attention_mask"].sum(1).tolist() == [16, 9, 5]


@pytest.mark.parametrize("tokens_per_call", [1, 40, 4096])
def test_batched_logits_equal_single_ones(pretrained, tokens_per_call, monkeypatch):
    monkeypatch.setattr(aphan, "TOKENS_PER_CALL", tokens_per_call)
    made = network(pretrained)
    data = made.samples(split_of(CALLS))
    assert [len(pairs) for pairs in data.pairs] == [2, 1, 5, 1]
    with torch.no_grad():
        together = made(data.collate([data[i] for i in range(4)]))
        alone = torch.cat([made(data.collate([data[i]])) for i in range(4)])
        turned = made(data.collate([data[i] for i in (3, 2, 1, 0)]))
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(turned.flip(0), together, rtol=0, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_the_pairs_of_a_batch_are_encoded_in_as_few_calls_as_they_fit_in(tiny_bert, monkeypatch):
    made = network(str(tiny_bert))
    shapes = []
    made.encoder.register_forward_pre_hook(
        lambda _, __, inputs: shapes.append(tuple(inputs["input_ids"].shape)), with_kwargs=True
    )
    data = made.samples(split_of(CALLS))
    batch = data.collate([data[i] for i in range(4)])
    with torch.no_grad():
        made(batch)
    assert shapes == [tuple(batch["input_ids"].shape)]
    shapes.clear()
    monkeypatch.setattr(aphan, "TOKENS_PER_CALL", 20)
    with torch.no_grad():
        made(batch)
    assert len(shapes) > 2
    assert sum(rows for rows, _ in shapes) == 9
    assert all(rows * width <= 20 for rows, width in shapes)


def test_the_order_of_pairs_matters_and_what_lies_beyond_the_last_pair_does_not(tiny_bert):
    made = network(str(tiny_bert), pairs=2)
    long = CALLS[2]
    swapped = [*long[2:4], *long[:2], *long[4:]]
    data = made.samples(split_of([long[:4], long, swapped]))
    with torch.no_grad():
        short, cut, other = made(data.collate([data[i] for i in range(3)]))
    torch.testing.assert_close(short, cut, rtol=0, atol=1e-5)
    assert not torch.allclose(cut, other, atol=1e-4)


def test_texts_without_turns_are_read_by_sentences(tiny_bert):
    made = network(str(tiny_bert))
    as_text = Split(["0"], ["card1 please. the loan1! a rate2"], [0])
    as_turns = Split(["0"], ["."], [0], [[Turn("", text) for text in ("card1 please.", "the loan1!", "a rate2")]])
    assert made.samples(as_text).pairs == made.samples(as_turns).pairs
    assert len(made.samples(as_text).pairs[0]) == 2


def test_what_stands_above_the_encoder_is_computed_in_float32_under_bf16_autocast(tiny_bert):
    made = network(str(tiny_bert))
    data = made.samples(split_of(CALLS))
    batch = data.collate([data[i] for i in range(4)])
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            logits, vectors = made(batch), made.pair_vectors(batch)
        exact, full = made.head(vectors, batch["pairs"]), made(batch)
    assert (logits.dtype, vectors.dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(logits, exact, rtol=0, atol=1e-6)
    assert (logits - full).abs().max() > 1e-5  # autocast was on: the encoder did round


def test_every_part_learns(tiny_bert):
    made = network(str(tiny_bert))
    (batch,) = loader(made.samples(split_of(CALLS)))
    made.loss(batch).backward()
    assert [name for name, weight in made.named_parameters() if weight.grad is None] == []
    assert all(not name.startswith("encoder") for name, _ in made.head.named_parameters(prefix="head"))


def test_it_learns_a_small_corpus(tiny_bert):
    texts, labels = samples(64)
    calls = [[Turn("agent", "please"), Turn("customer", text)] for text in texts]
    split = Split([str(i) for i in range(64)], texts, labels, calls)
    corpus = Corpus("tiny", LABELS, LABELS, split, split, split)
    torch.manual_seed(0)
    settings = ModelConfig(
        name="aphan", architecture="aphan", pretrained=str(tiny_bert), aphan=AphanConfig(lstm_hidden=8), max_length=20
    )
    made = build_network(settings, corpus)
    assert isinstance(made, AdjacencyPairNetwork)
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-2)
    (batch,) = loader(made.samples(split))
    before = made.loss(batch).item()
    for _ in range(25):
        optimizer.zero_grad()
        made.loss(batch).backward()
        optimizer.step()
    assert made.loss(batch).item() < before / 2
