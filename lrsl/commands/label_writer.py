"""Label texts written by a language model, for labels whose names say little (section 5.3 of the paper)."""

from __future__ import annotations

import random
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import yaml
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from lrsl.classifiers.llm import check_four_bit, keep_four_bit_layers, nf4
from lrsl.data.corpus import Corpus
from lrsl.data.label_texts import readable
from lrsl.errors import InputError
from lrsl.nn.pretrained import load_tokenizer, loading, longest_input, quiet

KEY = "llm"
LANGUAGES = {
    "de": "German", "en": "English", "es": "Spanish", "fr": "French", "it": "Italian", "ja": "Japanese", "ko": "Korean",
    "pt": "Portuguese", "ru": "Russian", "zh": "Chinese",
}  # fmt: skip

_LONGEST_EXAMPLE = 300  # characters
_HEADS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")  # how transformers names what generates text
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "「": "」", "『": "』"}
_PREFIXES = ("label", "description", "answer", "text", "标签", "描述", "说明", "回答", "答案")
_LIST_MARK = re.compile(r"^(?:[-*•>#]+|\d+[.)])\s+")
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|[。！？\n]")


class LabelText(NamedTuple):
    """A label, its text, and why that is its present one: `""` when the language model wrote it."""

    label: str
    text: str
    kept: str


class LanguageModel:
    """A causal language model that answers a prompt: greedily, so that the same prompt has the same answer.

    Args:
        network: the model.
        tokenizer: its tokenizer; its chat template is used when it has one.
        max_new_tokens: longest answer.
    """

    def __init__(self, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_new_tokens: int) -> None:
        self.network = network.eval()
        self.tokenizer = tokenizer
        self.max_new_tokens = max_new_tokens

    def check_length(self, prompts: list[str]) -> None:
        """Check that every prompt and its answer fit into what the model reads.

        Raises:
            InputError: one does not.
        """
        longest = max(self._ids(prompt).shape[1] for prompt in prompts)
        read = longest_input(self.tokenizer, self.network, longest + self.max_new_tokens)
        if read < longest + self.max_new_tokens:
            raise InputError(
                f"{KEY} reads {read} tokens, and the longest prompt has {longest} besides max_new_tokens="
                f"{self.max_new_tokens} of the answer; set examples lower, or take a model that reads more"
            )

    def __call__(self, prompt: str) -> str:
        """Return the answer; of one that is broken off at `max_new_tokens`, the sentences that are whole."""
        ids = self._ids(prompt).to(self.network.device)
        generate: Any = self.network.generate
        with torch.inference_mode(), quiet():
            made = generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=self.max_new_tokens,
                do_sample=False,
                temperature=None,  # these three may come with the model, and are for sampling only
                top_p=None,
                top_k=None,
            )[0, ids.shape[1] :]
        answer = str(self.tokenizer.decode(made, skip_special_tokens=True))
        ends = [sentence.end() for sentence in _SENTENCE_END.finditer(answer)]
        whole = len(made) < self.max_new_tokens
        return answer if whole else answer[: ends[-1] if ends else 0]

    def _ids(self, prompt: str) -> Tensor:
        """Return the prompt's token ids, `(1, tokens)`."""
        chat = self.tokenizer.chat_template is not None
        with quiet():
            text = self._as_chat(prompt) if chat else f"{prompt}\n\nAnswer:"
            encoded: Any = self.tokenizer(text, add_special_tokens=not chat, return_tensors="pt")
        ids: Tensor = encoded["input_ids"]
        return ids

    def _as_chat(self, prompt: str) -> str:
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    [{"role": "user", "content": prompt}],
                    tokenize=False,
                    add_generation_prompt=True,
                    enable_thinking=False,  # templates that know no such switch ignore it
                )
            )
        except Exception as error:  # a template is a program of its own
            reason = " ".join(str(error).split())[:160]
            raise InputError(f"{KEY}: the tokenizer's chat template fails ({reason}); take another model") from None


def load_language_model(pretrained: str, *, quantize: str, max_new_tokens: int) -> LanguageModel:
    """Return a language model ready to answer: in bfloat16 on a GPU where there is one, else in float32.

    Args:
        pretrained: hub id or local folder; its weights are in safetensors.
        quantize: `nf4` for weights in 4 bits, or `none`.
        max_new_tokens: longest answer.

    Raises:
        InputError: it is neither a folder with a model nor reachable, cannot generate text, or 4-bit weights do not
            work on this machine.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    options: dict[str, Any] = {"dtype": torch.bfloat16 if device == "cuda" else torch.float32}
    if quantize == "nf4":
        _check_nf4(device)
        options = {"dtype": torch.bfloat16, "device_map": {"": device}, "quantization_config": nf4()}
    with loading(pretrained, KEY) as path, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _check_head(pretrained, AutoConfig.from_pretrained(path, trust_remote_code=False))
        options |= {"use_safetensors": True, "trust_remote_code": False, "output_loading_info": True}
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(path, **options)
        except SafetensorError as error:
            raise InputError(f"{KEY}={pretrained} is damaged ({error}); get it again") from None
    network, loading_info = loaded
    if loading_info["missing_keys"]:
        lacking = min(loading_info["missing_keys"])
        raise InputError(f"{KEY}={pretrained} lacks weights it needs to generate text ({lacking}); take another model")
    keep_four_bit_layers(network)
    if quantize == "none":
        network = network.to(device)
    return LanguageModel(network, load_tokenizer(pretrained, KEY), max_new_tokens)


def _check_nf4(device: str) -> None:
    try:
        check_four_bit(device)
    except InputError as error:
        raise InputError(str(error).replace("model.quantize", "quantize")) from None


def _check_head(pretrained: str, config: Any) -> None:
    names = config.architectures or [config.model_type]
    known = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
    if not known or not (config.architectures is None or any(name.endswith(_HEADS) for name in names)):
        raise InputError(
            f"{KEY}={pretrained} cannot generate text: it is a {', '.join(names)}; give a causal language model, best "
            "one tuned to follow instructions"
        )


def examples_of(corpus: Corpus, label: int, count: int, seed: int) -> list[str]:
    """Return up to `count` distinct training texts of a label, drawn with a seed, each on one line and shortened."""
    rows = zip(corpus.train.texts, corpus.train.labels, strict=True)
    texts = list(dict.fromkeys(" ".join(text.split()) for text, of in rows if of == label))
    drawn = random.Random(f"{seed} {corpus.labels[label]}").sample(texts, min(count, len(texts)))
    return [text if len(text) <= _LONGEST_EXAMPLE else f"{text[:_LONGEST_EXAMPLE].rstrip()}…" for text in drawn]


def prompt(corpus: Corpus, label: int, examples: list[str], language: str) -> str:
    """Return what the language model is asked about a label.

    Args:
        corpus: has the labels.
        label: the label's position in it.
        examples: texts with that label.
        language: the language that the answer shall be in (ISO 639-1).
    """
    shown = [
        text if text == readable(name) else f"{name} ({' '.join(text.split())})"
        for name, text in zip(corpus.labels, corpus.label_texts, strict=True)
    ]
    name = corpus.labels[label]
    called = shown[label] if name.isdigit() else readable(name)  # a number says nothing by itself
    parts = [f"Texts are sorted by these {len(shown)} labels:", *(f"- {name}" for name in shown), ""]
    parts += [f"This is about the label {shown[label]}."]
    if examples:
        parts += ["Some texts with it:", *(f"- {text}" for text in examples)]
    parts += [
        "",
        f"In one sentence of at most 30 words, describe what texts with the label {called} have in common that tells "
        "them from texts with any of the other labels. Neither quote the texts nor name the label. Answer in "
        f"{LANGUAGES.get(language, f'the language {language} (ISO 639-1)')}, with the sentence alone.",
    ]
    return "\n".join(parts)


def clean(answer: str, names: list[str]) -> str:
    """Return the first line of an answer that says something, without what models put around it; else `""`.

    Thoughts, introductions ("Here it is:"), Markdown, quotation marks around the whole and a prefix such as
    "Description:" are taken away.

    Args:
        answer: what the language model said.
        names: how the label is called, which is taken away, too, when it is the prefix.
    """
    called = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    marks = re.escape("".join({*_QUOTES, *_QUOTES.values()}))
    prefix = re.compile(
        rf"^(?:(?:{'|'.join(_PREFIXES)})\s*)?(?:[{marks}(]*(?:{called})[{marks})]*)?\s*(?:[:：]|\s[-–—]\s)\s*",
        re.IGNORECASE,
    )
    spoken = answer.rpartition("</think>")[2].partition("<think>")[0]
    for line in spoken.splitlines():
        text, before = _LIST_MARK.sub("", " ".join(line.split())), ""
        while text != before:
            before = text
            text = _unquoted(prefix.sub("", re.sub(r"\*\*|`", "", text).strip("*_# ")))
        if any(character.isalnum() for character in text) and not text.endswith((":", "：")):
            return text
    return ""


def _unquoted(text: str) -> str:
    inner = text.rstrip(".。")
    mark = text[:1]
    closing = _QUOTES.get(mark)
    if closing is None or len(inner) < 2 or not inner.endswith(closing) or {mark, closing} & set(inner[1:-1]):
        return text
    return inner[1:-1].strip()


def write_label_texts(corpus: Corpus, prompts: list[str], answer: Callable[[str], str]) -> Iterator[LabelText]:
    """Return a text for each label in turn, pairwise distinct; a label without a good answer keeps its present text.

    Args:
        corpus: has the labels and their present texts.
        prompts: what to ask about each label.
        answer: returns the language model's answer to a prompt.
    """
    texts = list(corpus.label_texts)
    for label, (name, question) in enumerate(zip(corpus.labels, prompts, strict=True)):
        text = clean(answer(question), [name, readable(name), texts[label]])
        others = {other.casefold(): corpus.labels[i] for i, other in enumerate(texts) if i != label}
        if not text:
            kept = "no whole sentence came back within max_new_tokens"
        elif text.casefold() in others:
            kept = f"the answer was the text of {others[text.casefold()]!r}"
        else:
            kept, texts[label] = "", text
        yield LabelText(name, texts[label], kept)


def entry(written: LabelText) -> str:
    """Return a label's lines in a YAML file of label texts, a comment above a text that was kept."""
    lines = yaml.safe_dump({written.label: written.text}, allow_unicode=True, sort_keys=False, width=100)
    return f"# {written.kept}, so the present text is kept\n{lines}" if written.kept else lines
