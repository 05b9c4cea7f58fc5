"""Label texts written by a language model, for labels whose names say little (section 5.3 of the paper)."""

from __future__ import annotations

import random
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
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

from lrsl.classifiers.llm import check_four_bit, keep_four_bit_layers, nf4, with_padding
from lrsl.commands.label_answers import clean, in_script, loops, names_again, quotes, sentences, speaks_of_labels
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
_LINE_OR_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|[。！？\n]")
LONGEST = 30
"""Words of an answer, as asked for."""

FAULTS = {
    "unfinished": "no whole sentence came back within max_new_tokens",
    "loop": "the answer says the same over and over",
    "echo": "the answer speaks of labels",
    "language": "the answer is in another script than it was asked in",
    "name": "the answer names the label again",
    "long": f"the answer has more than {LONGEST} words",
    "quote": "the answer quotes a training text",
    "other": "the answer was the text of another label",
    "worse": "the answer separates training texts no better",
}
"""Why an answer is not taken."""


class LabelText(NamedTuple):
    """A label and its text.

    Attributes:
        label: its name.
        text: what stands for it.
        fault: why that is its present text, one of `FAULTS`; `""` when the language model wrote it.
        shortened: whether the answer went on after its first sentence.
        named: whether the text that was taken has the label's name in it.
    """

    label: str
    text: str
    fault: str = ""
    shortened: bool = False
    named: bool = False


class Separates(Protocol):
    """Tells whether texts are separated better with another text for a label; knows what is taken."""

    def is_better(self, label: int, text: str) -> bool:
        """Tell so of the label at a position."""

    def take(self, label: int, text: str) -> None:
        """Let this be the label's text from now on."""


class LanguageModel:
    """A causal language model that answers a prompt: greedily, so that the same prompt has the same answer.

    Args:
        network: the model.
        tokenizer: its tokenizer; its chat template is used when it has one.
        max_new_tokens: longest answer.
    """

    def __init__(self, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_new_tokens: int) -> None:
        self.network = network.eval()
        self.tokenizer = with_padding(tokenizer)
        self.max_new_tokens = max_new_tokens

    def check_length(self, prompts: list[str]) -> None:
        """Check that every prompt and its answer fit into what the model reads.

        Raises:
            InputError: one does not.
        """
        longest = max(len(self._ids(prompt)) for prompt in prompts)
        read = longest_input(self.tokenizer, self.network, longest + self.max_new_tokens)
        if read < longest + self.max_new_tokens:
            raise InputError(
                f"{KEY} reads {read} tokens, and the longest prompt has {longest} besides max_new_tokens="
                f"{self.max_new_tokens} of the answer; set examples lower, or take a model that reads more"
            )

    def __call__(self, prompts: Sequence[str]) -> list[str]:
        """Return the answers; of one that is broken off at `max_new_tokens`, the sentences that are whole."""
        ids = [self._ids(prompt) for prompt in prompts]
        longest = max(of_prompt.shape[0] for of_prompt in ids)
        padding = self.tokenizer.pad_token_id
        batch = torch.stack([F.pad(of_prompt, (longest - len(of_prompt), 0), value=padding) for of_prompt in ids])
        mask = torch.stack([torch.arange(longest) >= longest - len(of_prompt) for of_prompt in ids])
        generate: Any = self.network.generate
        with torch.inference_mode(), quiet():
            made = generate(
                input_ids=batch.to(self.network.device),
                attention_mask=mask.long().to(self.network.device),
                max_new_tokens=self.max_new_tokens,
                do_sample=False,
                temperature=None,  # these three may come with the model, and are for sampling only
                top_p=None,
                top_k=None,
                pad_token_id=padding,
            )[:, longest:]
        return [self._answer(of_prompt) for of_prompt in made]

    def _answer(self, made: Tensor) -> str:
        """Return what was answered with tokens `(at most max_new_tokens,)`, those behind a stop included."""
        answer = str(self.tokenizer.decode(made, skip_special_tokens=True))
        ends = [sentence.end() for sentence in _LINE_OR_SENTENCE_END.finditer(answer)]
        whole = len(made) < self.max_new_tokens or bool(torch.isin(made.cpu(), self._stops()).any())
        return answer if whole else answer[: ends[-1] if ends else 0]

    def _stops(self) -> Tensor:
        config: Any = self.network.generation_config
        return torch.tensor(config.eos_token_id if config.eos_token_id is not None else []).flatten()

    def _ids(self, prompt: str) -> Tensor:
        """Return the prompt's token ids, `(tokens,)`."""
        chat = self.tokenizer.chat_template is not None
        with quiet():
            text = self._as_chat(prompt) if chat else f"{prompt}\n\nAnswer:"
            encoded: Any = self.tokenizer(text, add_special_tokens=not chat, return_tensors="pt")
        ids: Tensor = encoded["input_ids"][0]
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
        f"In one sentence of at most {LONGEST} words, describe what texts with the label {called} have in common that "
        "tells them from texts with any of the other labels. Neither quote the texts nor name the label. Answer in "
        f"{LANGUAGES.get(language, f'the language {language} (ISO 639-1)')}, with the sentence alone.",
    ]
    return "\n".join(parts)


def write_label_texts(
    corpus: Corpus,
    prompts: Sequence[str],
    answer: Callable[[Sequence[str]], Sequence[str]],
    *,
    examples: Sequence[Sequence[str]] | None = None,
    separation: Separates | None = None,
    known: Mapping[str, str] | None = None,
    language: str = "",
    at_once: int = 1,
) -> Iterator[LabelText]:
    """Return a text for each label in turn, pairwise distinct; a label without a good answer keeps its present text.

    An answer is good when it does what `prompt` asks for: it is cut to its first sentence, and may neither go round in
    a loop, speak of labels, quote an example, name the label nor be longer than asked. With `separation` it also has to
    separate texts better than the present one, and may then be long or name the label, which is told.

    Args:
        corpus: has the labels and their present texts.
        prompts: what to ask about each label.
        answer: returns the language model's answers to some prompts.
        examples: the training texts that each prompt shows.
        separation: compares texts for a label; without it every good answer is taken.
        known: texts of the first labels that are written already, by name; the others are returned.
        language: what the answers shall be in (ISO 639-1).
        at_once: prompts that are answered together.
    """
    known = known or {}
    texts = [known.get(name, text) for name, text in zip(corpus.labels, corpus.label_texts, strict=True)]
    for start in range(0, len(texts), at_once):  # from the first label, so that going on later asks the same together
        batch = range(start, min(start + at_once, len(texts)))
        if corpus.labels[batch[-1]] in known:
            continue
        for label, said in zip(batch, answer([prompts[label] for label in batch]), strict=True):
            name = corpus.labels[label]
            if name in known:
                continue
            cleaned = clean(said, [name, readable(name), texts[label]])
            text = next(iter(sentences(cleaned)), "")
            called = [texts[label]] if name.isdigit() else [name, readable(name)]
            fault = _fault(text, said=cleaned, called=called, present=texts[label], language=language)
            if not fault and text.casefold() in {other.casefold() for i, other in enumerate(texts) if i != label}:
                fault = "other"
            if not fault and quotes(text, examples[label] if examples else ()):
                fault = "quote"
            if not fault and separation:
                fault = "" if separation.is_better(label, text) else "worse"
            elif not fault:
                fault = "name" if names_again(text, called) else "long" if len(text.split()) > LONGEST else ""
            if not fault:
                texts[label] = text
                if separation:
                    separation.take(label, text)
            yield LabelText(
                name,
                texts[label],
                fault,
                shortened=not fault and len(text) < len(cleaned),
                named=not fault and names_again(text, called),
            )


def _fault(text: str, *, said: str, called: Sequence[str], present: str, language: str) -> str:
    """Return what is wrong with an answer whatever else there is; `""` if nothing is."""
    if not text:
        return "unfinished"
    if loops(said):
        return "loop"
    if speaks_of_labels(text, [*called, present]):
        return "echo"
    return "" if in_script(text, language) else "language"


def entry(written: LabelText) -> str:
    """Return a label's lines in a YAML file of label texts, below a comment where there is something to know of it."""
    lines = yaml.safe_dump({written.label: written.text}, allow_unicode=True, sort_keys=False, width=100)
    if written.fault:
        return f"# {FAULTS[written.fault]}, so the present text is kept\n{lines}"
    return f"# taken although the label's name is in it\n{lines}" if written.named else lines
