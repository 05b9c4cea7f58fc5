import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForSequenceClassification, T5Config

from lrsl.commands import label_writer
from lrsl.commands.label_answers import clean, loops, names_again, sentences
from lrsl.commands.label_writer import (
    FAULTS,
    LanguageModel,
    entry,
    examples_of,
    load_language_model,
    prompt,
    write_label_texts,
)
from lrsl.data.corpus import Corpus, Split
from lrsl.data.label_texts import label_texts, readable
from lrsl.errors import InputError
from lrsl.nn.pretrained import MINILM

AWKWARD = ["01", "1", "yes", "no", "null", "True", "a: b", "# c", "- d", "it's", "=", "~", "1e3", "{e}", "余额_查询"]


def split(name: str, texts: list[str], labels: list[int]) -> Split:
    return Split([f"{name}-{i}" for i in range(len(texts))], texts, labels)


def corpus(labels: list[str], texts: list[str] | None = None) -> Corpus:
    of = [i % len(labels) for i in range(12 * len(labels))]
    splits = {name: split(name, [f"{name} {labels[k]} {i}" for i, k in enumerate(of)], of) for name in ("train", "val")}
    return Corpus("mine", labels, texts or [readable(label) for label in labels], test=splits["val"], **splits)


def one_by_one(answer: Callable[[str], str]) -> Callable[[Sequence[str]], list[str]]:
    return lambda prompts: [answer(prompt) for prompt in prompts]


def llama(folder: Path, stops: list[int]) -> Path:
    """Write a tiny Llama that reads long prompts, and stops at any of these tokens."""
    tiny.write_llama(folder)
    for name, key, value in (("config", "max_position_embeddings", 4096), ("generation_config", "eos_token_id", stops)):
        path = folder / f"{name}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    return folder


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(llama(tmp_path_factory.mktemp("llama"), stops=[2]))


@pytest.fixture
def model(pretrained: str) -> LanguageModel:
    return load_language_model(pretrained, quantize="none", max_new_tokens=12)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("Tweets that complain.", "Tweets that complain."),
        ("  Tweets\tthat  complain. \n\nAnd more.", "Tweets that complain."),
        ("Joy. Praise, too.", "Joy. Praise, too."),
        ('"Tweets that complain."', "Tweets that complain."),
        ('"Tweets that complain".', "Tweets that complain"),
        ("“Tweets” and “texts”", "“Tweets” and “texts”"),
        ("“抱怨的推文。”", "抱怨的推文。"),
        ("「『抱怨』」", "抱怨"),
        ("**Tweets** that `complain`", "Tweets that complain"),
        ("- Tweets that complain", "Tweets that complain"),
        ("## 1. Tweets that complain", "1. Tweets that complain"),
        ("1. Tweets that complain", "Tweets that complain"),
        ("_Tweets that complain_", "Tweets that complain"),
        ("negative: tweets that complain", "tweets that complain"),
        ("Negative - tweets that complain", "tweets that complain"),
        ('Label "negative": tweets: bad ones', "tweets: bad ones"),
        ("**Description:** tweets that complain", "tweets that complain"),
        ("Description: negative: tweets that complain", "tweets that complain"),
        ('"Answer: an unhappy tweet: tweets that complain"', "tweets that complain"),
        ("标签：抱怨的推文", "抱怨的推文"),
        ("Sure! Here it is:\n\n> tweets that complain", "tweets that complain"),
        ("Description:\ntweets that complain", "tweets that complain"),
        ("<think>\nnegative, so\n</think>\n\ntweets that complain", "tweets that complain"),
        ("so it is bad</think>tweets that complain", "tweets that complain"),
        ("<think>and on and on", ""),
        ("a negative: no prefix, a well-known word", "a negative: no prefix, a well-known word"),
        ("negativity, in a word", "negativity, in a word"),
        ("Texts with the label negative have in common that they both complain.", "They both complain."),
        ("The texts with the label “negative” all have in common complaints.", "Complaints."),
        ("Texts that have much in common", "Texts that have much in common"),
        ("Here it is:", ""),
        ("negative:", ""),
        (" \n ", ""),
        ('""', ""),
        ("…", ""),
    ],
)
def test_an_answer_is_cleaned(answer: str, text: str) -> None:
    assert clean(answer, ["negative", "an unhappy tweet"]) == text


def test_a_label_without_a_good_answer_keeps_its_present_text() -> None:
    answers = {"a": "Cee", "b": "Bees. More.", "c": "bees.", "d": "...", "e": "An E it is", "f": "Fs. Fs."}
    made = corpus(list("abcdef"), ["A", "B", "cee", "D", "E", "F"])
    assert list(write_label_texts(made, list("abcdef"), one_by_one(answers.__getitem__))) == [
        ("a", "A", "other", False, False),
        ("b", "Bees.", "", True, False),
        ("c", "cee", "other", False, False),
        ("d", "D", "unfinished", False, False),
        ("e", "E", "name", False, False),
        ("f", "F", "loop", False, False),
    ]


def test_an_answer_speaks_of_what_was_asked_for() -> None:
    def faults(answer: str, labels: tuple[str, ...] = ("x", "y"), language: str = "en") -> str:
        made = corpus([*labels])
        return next(write_label_texts(made, ["", ""], lambda _: [answer, ""], language=language, at_once=2)).fault

    assert faults("They differ from texts with other labels.") == "echo"
    assert faults("这些文本的标签是卡片。", language="zh") == "echo"
    assert faults("They ask for a label on a parcel.", ("parcel_label", "stamp")) == ""
    assert faults("Спрашивают о карте.") == faults("They ask about cards.", language="zh") == "language"
    assert faults("Спрашивают о карте.", language="ru") == faults("询问卡片。", language="zh") == ""
    assert faults("Anything at all.", language="fi") == ""
    assert faults(" ".join(map(str, range(29))) + " ways.") == ""
    assert faults(" ".join(map(str, range(30))) + " ways.") == "long"


def test_an_answer_that_quotes_an_example_is_not_taken() -> None:
    made = corpus(["x", "y"])
    shown = [["where is my card?"], ["why so late"]]
    answers = ["Texts that ask, where is my card.", "Texts that ask, where is my card."]
    written = list(write_label_texts(made, ["", ""], lambda _: answers, examples=shown, at_once=2))
    assert [text.fault for text in written] == ["quote", ""]


class Longer:
    """Stands in for what compares texts: the longer, the better."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    def is_better(self, label: int, text: str) -> bool:
        return len(text) > len(self.texts[label])

    def take(self, label: int, text: str) -> None:
        self.texts[label] = text


def test_an_answer_that_separates_no_better_is_not_taken() -> None:
    made = corpus(["one", "two"], ["rather long a text", "2"])
    separation = Longer(list(made.label_texts))
    written = list(
        write_label_texts(made, ["", ""], lambda _: ["Short.", "Two of them."], separation=separation, at_once=2)
    )
    assert [text.fault for text in written] == ["worse", ""]
    assert [text.named for text in written] == [False, True]
    assert separation.texts == ["rather long a text", "Two of them."]


def test_going_on_asks_the_same_together() -> None:
    made = corpus(list("abcde"))
    asked: list[list[str]] = []

    def answer(prompts: Sequence[str]) -> list[str]:
        asked.append(list(prompts))
        return [f"Texts of kind {prompt}{prompt}" for prompt in prompts]

    written = list(write_label_texts(made, list("abcde"), answer, known={"a": "A.", "b": "B.", "c": "C."}, at_once=2))
    assert asked == [["c", "d"], ["e"]]
    assert [text.label for text in written] == ["d", "e"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two!", ["One.", "Two!"]),
        ("Texts, e.g. of cards, i.e. of Visa vs. Amex", ["Texts, e.g. of cards, i.e. of Visa vs. Amex"]),
        ("Version 2.0 of it. and so on", ["Version 2.0 of it. and so on"]),
        ("一。二！", ["一。", "二！"]),
        ("…", []),
    ],
)
def test_sentences(text: str, parts: list[str]) -> None:
    assert sentences(text) == parts


@pytest.mark.parametrize(
    ("text", "so"),
    [
        ("Asks for a card. Asks for a card.", True),
        ("Asks for a card and for a card and for a card and for", True),
        ("关于卡片，关于卡片，关于卡片", True),
        ("Asks for a card, and for a pin.", False),
        ("Ha, ha, ha.", False),
    ],
)
def test_loops(text: str, so: bool) -> None:
    assert loops(text) is so


@pytest.mark.parametrize(
    ("text", "so"),
    [
        ("Asks about the card-arrival.", True),
        ("card_arrival, that is", True),
        ("Card ARRIVAL", True),
        ("Cards' arrivals", False),
        ("The arrival of a card", False),
    ],
)
def test_a_name_is_found_again(text: str, so: bool) -> None:
    assert names_again(text, ["card_arrival"]) is so


def test_a_name_is_found_among_words_that_are_not_apart() -> None:
    assert names_again("询问打车的应用", ["打车"])
    assert not names_again("询问打的应用", ["打车"])
    assert not names_again("anything", ["?"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    labels=st.lists(
        st.one_of(st.text(min_size=1), st.sampled_from(AWKWARD)), min_size=2, max_size=6, unique_by=readable
    ),
    answers=st.lists(st.one_of(st.text(), st.sampled_from(AWKWARD)), min_size=6, max_size=6),
)
def test_what_is_written_loads_back(labels: list[str], answers: list[str], tmp_path: Path) -> None:
    labels = [label for label in labels if label.strip()]
    own = [readable(label).strip() for label in labels]
    given = iter(answers)
    written = list(write_label_texts(corpus(labels, own), labels, lambda _: [next(given)]))
    path = tmp_path / "texts.yaml"
    path.write_text("# a comment\n" + "".join(map(entry, written)), encoding="utf-8", newline="\n")
    assert label_texts(labels, own, str(path) if labels else None, None) == [text.text for text in written]


def test_long_and_awkward_entries_load_back(tmp_path: Path) -> None:
    long = " ".join(f"{first}{second}ng" for first in "bcdfgklmprst" for second in "aeiou")
    answers = [f"Texts: {'plenty ' + long if i % 2 else long}, 说来话长 #{chr(97 + i)}" for i in range(len(AWKWARD))]
    labels = [*AWKWARD, "a label of many words " * 9]
    path = tmp_path / "texts.yaml"
    answer = one_by_one(lambda label: [*answers, ""][labels.index(label)])
    separation = Longer([""] * len(labels))  # lets long ones pass
    written = list(write_label_texts(corpus(labels), labels, answer, separation=separation))
    path.write_text("".join(map(entry, written)), encoding="utf-8")
    assert label_texts(labels, labels, str(path), None) == [*answers, readable(labels[-1])]
    lines = path.read_text(encoding="utf-8").splitlines()
    assert max(map(len, lines[:-3])) <= 110
    assert "说来话长" in path.read_text(encoding="utf-8")
    assert f"# {FAULTS['unfinished']}, so the present text is kept" in lines


def test_examples_are_drawn_from_the_labels_training_texts() -> None:
    made = corpus(["x", "y"])
    drawn = examples_of(made, 1, 5, seed=0)
    assert len(set(drawn)) == 5
    assert all(text.startswith("train y ") for text in drawn)
    assert drawn == examples_of(made, 1, 5, seed=0)
    assert drawn != examples_of(made, 1, 5, seed=1)
    assert examples_of(made, 1, 0, seed=0) == []
    assert len(examples_of(made, 1, 99, seed=0)) == 12


def test_examples_are_distinct_on_one_line_and_short() -> None:
    train = split("train", ["a\n b", "a b", "c" * 300, "d" * 301], [0, 0, 0, 0])
    made = Corpus("mine", ["x", "y"], ["x", "y"], train, train, train)
    assert sorted(examples_of(made, 0, 9, seed=0)) == ["a b", "c" * 300, f"{'d' * 300}…"]
    assert examples_of(made, 1, 9, seed=0) == []


def test_the_prompt() -> None:
    made = corpus(["card_arrival", "0"], ["card arrival", "打车"])
    assert prompt(made, 1, ["滴滴", "taxi"], "zh") == (
        "Texts are sorted by these 2 labels:\n"
        "- card arrival\n"
        "- 0 (打车)\n"
        "\n"
        "This is about the label 0 (打车).\n"
        "Some texts with it:\n"
        "- 滴滴\n"
        "- taxi\n"
        "\n"
        "In one sentence of at most 30 words, describe what texts with the label 0 (打车) have in common that tells "
        "them from texts with any of the other labels. Neither quote the texts nor name the label. Answer in Chinese, "
        "with the sentence alone."
    )
    assert "what texts with the label card arrival have in common" in prompt(made, 0, [], "en")
    assert "label card arrival.\n\nIn one sentence" in prompt(made, 0, [], "en")
    assert "Answer in the language fi (ISO 639-1), with" in prompt(made, 0, [], "fi")


def greedy(model: LanguageModel, text: str, *, special: bool) -> list[int]:
    """Return the greedy tokens up to the first change of token, and have the model stop there."""
    ids = model.tokenizer(text, add_special_tokens=special, return_tensors="pt")["input_ids"]
    start = ids.shape[1]
    while len(ids[0, start:].unique()) < 2:
        with torch.no_grad():
            best = model.network(input_ids=ids).logits[:, -1].argmax(-1, keepdim=True)
        ids = torch.cat([ids, best], dim=1)
    stop_at(model, int(ids[0, -1]))
    assert ids.shape[1] - start < model.max_new_tokens
    return ids[0, start:].tolist()


def stop_at(model: LanguageModel, *tokens: int) -> None:
    model.network.generation_config.eos_token_id = list(tokens)


def test_an_answer_is_greedy_whatever_the_model_would_sample(model: LanguageModel) -> None:
    expected = greedy(model, "card0 card1\n\nAnswer:", special=True)
    config = model.network.generation_config
    config.do_sample, config.temperature, config.top_p, config.top_k = True, 2.0, 0.5, 3
    answers = {model(["card0 card1"])[0] for _ in range(3)}
    assert answers == {model.tokenizer.decode(expected)}


def test_prompts_of_different_lengths_are_answered_together_as_alone(model: LanguageModel) -> None:
    prompts = ["card0", "card1 card0 " * 20, "card2 card1"]
    assert model(prompts) == [model([prompt])[0] for prompt in prompts]


def test_a_chat_template_is_used_and_brings_its_own_special_tokens(model: LanguageModel) -> None:
    model.tokenizer.chat_template = (
        "<s>{% for m in messages %}{{ m.role }} please {{ m.content }}{% endfor %}"
        "{% if add_generation_prompt and not enable_thinking %} rate{% endif %}"
    )
    expected = greedy(model, "<s>user please card0 rate", special=False)
    assert model(["card0"]) == [model.tokenizer.decode(expected)]


def test_a_chat_template_that_fails_is_said(model: LanguageModel) -> None:
    model.tokenizer.chat_template = "{{ raise_exception('only in twos') }}"
    with pytest.raises(InputError, match=r"^llm: the tokenizer's chat template fails \(only in twos\); take another"):
        model(["card0"])


@pytest.mark.parametrize(
    ("made", "tokens", "answer"),
    [
        ("One. Two. Thr", 4, "One. Two."),
        ("Version 2.0 of it", 4, ""),
        ("一。二", 4, "一。"),
        ("Here:\nOne", 4, "Here:\n"),
        ("One", 3, "One"),
    ],
)
def test_of_an_answer_that_is_broken_off_whole_sentences_are_kept(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch, made: str, tokens: int, answer: str
) -> None:
    model.max_new_tokens = 4
    monkeypatch.setattr(
        model.network, "generate", lambda input_ids, **_: torch.full((1, input_ids.shape[1] + tokens), 5)
    )
    monkeypatch.setattr(model.tokenizer, "decode", lambda *_, **__: made, raising=False)
    assert model(["card0"]) == [answer]


def test_prompts_that_are_too_long_are_refused(model: LanguageModel) -> None:
    model.check_length(["card0", "a " * 4000])
    with pytest.raises(InputError) as caught:
        model.check_length(["card0", "a " * 4090])
    assert str(caught.value).startswith("llm reads 4096 tokens, and the longest prompt has 409")
    assert "set examples lower" in str(caught.value)


def test_four_bits(pretrained: str) -> None:
    model = load_language_model(pretrained, quantize="nf4", max_new_tokens=8)
    assert {
        layer.weight.dtype for layer in model.network.model.layers[0].mlp.children() if hasattr(layer, "weight")
    } == {torch.uint8}
    stop_at(model, *range(3, 60))
    assert len(model(["card0 card1"])[0].split()) == 1


def test_four_bits_that_do_not_work_are_refused_by_the_key_that_was_typed(
    pretrained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(device: str) -> None:
        raise InputError(f"model.quantize=nf4 does not work on this machine ({device}); set model.quantize=none")

    monkeypatch.setattr(label_writer, "check_four_bit", refuse)
    with pytest.raises(InputError, match=r"^quantize=nf4 does not work .*; set quantize=none$"):
        load_language_model(pretrained, quantize="nf4", max_new_tokens=8)


def refusal(pretrained: Path | str) -> str:
    with pytest.raises(InputError) as caught:
        load_language_model(str(pretrained), quantize="none", max_new_tokens=8)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_model_that_cannot_generate_is_refused(tmp_path: Path, tiny_bert: Path) -> None:
    assert "cannot generate text: it is a BertModel; give a causal language model" in refusal(tiny_bert)
    assert refusal(MINILM).startswith(f"llm={MINILM} cannot generate text: it is a BertModel")
    config = LlamaConfig(vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "classifier")
    assert "it is a LlamaForSequenceClassification" in refusal(tmp_path / "classifier")
    T5Config().save_pretrained(tmp_path / "t5")
    assert "it is a t5" in refusal(tmp_path / "t5")


def test_a_model_that_lacks_its_head_is_refused(tmp_path: Path) -> None:
    weights = llama(tmp_path, stops=[2]) / "model.safetensors"
    kept = {name: weight for name, weight in load_file(weights).items() if name != "lm_head.weight"}
    save_file(kept, weights, metadata={"format": "pt"})
    assert refusal(tmp_path) == (
        f"llm={tmp_path} lacks weights it needs to generate text (lm_head.weight); take another model"
    )


def test_damaged_pickled_and_missing_weights_are_refused(tmp_path: Path) -> None:
    weights = llama(tmp_path, stops=[2]) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert refusal(tmp_path).startswith(f"llm={tmp_path} is damaged (")
    weights.unlink()
    torch.save({}, tmp_path / "pytorch_model.bin")
    assert "model.safetensors" in refusal(tmp_path)
    assert refusal("nobody/nothing").startswith("llm=nobody/nothing is neither a folder with a model nor reachable")
    assert refusal(tmp_path / "none") == (
        f"llm={tmp_path / 'none'} is no folder here; give an existing folder or a hub id such as "
        "HuggingFaceTB/SmolLM2-135M-Instruct"
    )


def test_on_a_gpu_weights_are_in_bfloat16(pretrained: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}
    moved: list[str] = []
    network = SimpleNamespace(modules=list, to=lambda device: moved.append(device) or network, eval=lambda: network)

    def load(path: str, **options: object) -> object:
        asked.update(options)
        return network, {"missing_keys": set()}

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(label_writer.AutoModelForCausalLM, "from_pretrained", load)
    load_language_model(pretrained, quantize="none", max_new_tokens=8)
    assert (asked["dtype"], moved) == (torch.bfloat16, ["cuda"])
    assert (asked["use_safetensors"], asked["trust_remote_code"]) == (True, False)
