"""What a language model's answer is worth as a label's text: cleaned of what models put around it, and checked."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Sequence

_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "「": "」", "『": "』"}
_PREFIXES = ("label", "description", "answer", "text", "标签", "描述", "说明", "回答", "答案")
_LIST_MARK = re.compile(r"^(?:[-*•>#]+|\d+[.)])\s+")
_SENTENCE_END = re.compile(r"""(?<!\be\.g)(?<!\bi\.e)(?<!\bvs)[.!?]["'”’»)]*(?=\s+[^\sa-z]|\s*$)|[。！？][”’」』）]*""")
_ECHO = re.compile(  # of the question that `label_writer.prompt` asks
    r"^(?:(?:all |the )?texts? (?:with|of|that have) the label .{1,200}? (?:all )?(?:have|has) in common "
    r"(?:is )?(?:that |with )?)(?P<first>.)",
    re.IGNORECASE,
)
_ASKED = ("label", "labels", "labeled", "labelled", "标签")
_SCRIPTS = {
    **dict.fromkeys(("de", "en", "es", "fr", "it", "pt"), ("LATIN",)),
    **{"ja": ("CJK", "HIRAGANA", "KATAKANA"), "ko": ("HANGUL",), "ru": ("CYRILLIC",), "zh": ("CJK",)},
}
_BETWEEN = re.compile(r"[\W_]+")
_SHORTEST_QUOTE = 15  # bytes: five Chinese characters, or two or three words
_LOOP = re.compile(r"(.{4,}?)\1\1")


def clean(answer: str, names: list[str]) -> str:
    """Return the first line of an answer that says something, without what models put around it; else `""`.

    Thoughts, introductions ("Here it is:"), Markdown, quotation marks around the whole, a prefix such as "Description:"
    and the question said again ("Texts with the label … have in common that they …") are taken away, the last but for
    "They …".

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
            text = _ECHO.sub(_begun, _unquoted(prefix.sub("", re.sub(r"\*\*|`", "", text).strip("*_# "))))
        if any(character.isalnum() for character in text) and not text.endswith((":", "：")):
            return text
    return ""


def _begun(echo: re.Match[str]) -> str:
    return echo["first"].upper()


def _unquoted(text: str) -> str:
    inner = text.rstrip(".。")
    mark = text[:1]
    closing = _QUOTES.get(mark)
    if closing is None or len(inner) < 2 or not inner.endswith(closing) or {mark, closing} & set(inner[1:-1]):
        return text
    return inner[1:-1].strip()


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, each with the mark that ends it."""
    ends = [0, *(end.end() for end in _SENTENCE_END.finditer(text)), len(text)]
    parts = (text[start:end].strip() for start, end in itertools.pairwise(ends))
    return [part for part in parts if any(character.isalnum() for character in part)]


def loops(text: str) -> bool:
    """Tell whether a text says a sentence twice, or a phrase three times on end."""
    said = [_words(sentence) for sentence in sentences(text)]
    return len(set(said)) < len(said) or _LOOP.search(_words(text)) is not None


def names_again(text: str, names: Sequence[str]) -> bool:
    """Tell whether a text has one of the names in it, as whole words where these are written apart."""
    return any(_holds(text, name) for name in names)


def speaks_of_labels(text: str, names: Sequence[str]) -> bool:
    """Tell whether a text is about labels, as the question is, though none of the names is."""
    return names_again(text, _ASKED) and not any(names_again(name, _ASKED) for name in names)


def in_script(text: str, language: str) -> bool:
    """Tell whether half the letters of a text or more are of the script that a language (ISO 639-1) is written in."""
    letters = [unicodedata.name(letter, "") for letter in text if letter.isalpha()]
    script = _SCRIPTS.get(language, ("",))
    return 2 * sum(letter.startswith(script) for letter in letters) >= len(letters)


def quotes(text: str, examples: Sequence[str]) -> bool:
    """Tell whether a text has one of the examples in it, but for those of a word or two."""
    return any(_holds(text, example) for example in examples if len(example.encode()) >= _SHORTEST_QUOTE)


def _holds(text: str, part: str) -> bool:
    inner = _words(part)
    if not inner.strip():
        return False
    apart = re.match(r"\s[\x00-\u024f]", inner) is not None
    return (inner if apart else inner.strip()) in _words(text)


def _words(text: str) -> str:
    """Return a text in lower case with one space before, between and behind its words."""
    return f" {_BETWEEN.sub(' ', text.casefold()).strip()} "
