import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException
from hypothesis import given
from hypothesis import strategies as st

from lrsl.config import mistakes
from lrsl.config.quotation import typed_text


def read(typed: str) -> tuple[str, object]:
    """Return key and value as Hydra reads them from what a shell makes of what is typed."""
    (word,) = shlex.split(typed)
    override = OverridesParser.create().parse_override(word)
    return override.key_or_group, override.value()


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1))
def test_any_text_comes_back(text: str) -> None:
    assert read(typed_text("dataset.text", text)) == ("dataset.text", text)


@pytest.mark.parametrize("text", ["true", "007", "a,b", "~/x.csv", 'say "hi"', "it's", "\\", '\\"', "C:\\data\\"])
def test_texts_that_hydra_or_a_shell_takes_for_more(text: str) -> None:
    assert read(typed_text("dataset.train", text)) == ("dataset.train", text)


@pytest.mark.parametrize(
    ("override", "typed"),
    [
        ("dataset.text=文本", "'dataset.text=\"文本\"'"),
        ("dataset.train=~/x.csv", "'dataset.train=\"~/x.csv\"'"),
        ("+dataset.name=größe", "'+dataset.name=\"größe\"'"),
        ("data_dir=/a(b", "'data_dir=\"/a(b\"'"),
        ("dataset.name=it's", "'dataset.name=\"it'\"'\"'s\"'"),
        ("dataset.train=daten & mehr.csv", "'dataset.train=\"daten & mehr.csv\"'"),
    ],
)
def test_what_cannot_be_read_is_said_with_the_exact_quotation(override: str, typed: str) -> None:
    with pytest.raises(OverrideParseException) as caught:
        OverridesParser.create().parse_overrides([override])
    sentence = mistakes.explain(caught.value)
    assert sentence.startswith(f"{override} cannot be read; write key=value, and quote a value ")
    assert sentence.endswith(f": {typed}")
    assert read(typed)[1] == override.partition("=")[2]


@pytest.mark.parametrize("override", ["seed", "reranker.rules=[{name: 我的}", "数据=x"])
def test_what_no_quotation_mends_gets_an_example(override: str) -> None:
    with pytest.raises(OverrideParseException) as caught:
        OverridesParser.create().parse_overrides([override])
    assert mistakes.explain(caught.value).endswith("as in \"key='a,b'\"")
