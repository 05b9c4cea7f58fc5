"""Have a language model write what the labels of a data set mean, into a file for a person to edit.

lrsl label-texts dataset=tsec3 data_dir=FOLDER llm=FOLDER_OR_HUB_ID out=label_texts.yaml
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from omegaconf.errors import ValidationError
from rich.console import Console
from rich.progress import track

from lrsl.config import composition, keys, mistakes, own, place
from lrsl.config.schema import Config
from lrsl.data.load import load_corpus
from lrsl.errors import InputError, nearest
from lrsl.nn import threads

if TYPE_CHECKING:
    from lrsl.commands.label_writer import LabelText

TYPES = {"int": "a whole number", "bool": "true or false", "str": "text"}


@dataclass
class WriterConfig:
    """What this command takes besides the keys of a run."""

    llm: str = ""
    """Hub id or local folder of a causal language model, best one tuned to follow instructions."""
    out: str = "label_texts.yaml"
    """The YAML file to write."""
    examples: int = 5
    """Training texts of a label that the language model is shown, drawn with `seed`."""
    max_new_tokens: int = 128
    """Longest answer, in tokens."""
    quantize: str = "none"
    """How the language model's weights are held: `nf4` (4 bits) or `none`."""
    overwrite: bool = False
    """Whether a file that is there already may be written anew."""

    def __post_init__(self) -> None:
        """Check what can be checked without loading anything."""
        if not self.llm:
            raise InputError("llm is not set; give llm=FOLDER, or the hub id of a model tuned to follow instructions")
        for key, least in (("examples", 0), ("max_new_tokens", 1)):
            if getattr(self, key) < least:
                raise InputError(f"{key}={getattr(self, key)} is too small; it must be at least {least}")
        if self.quantize not in ("nf4", "none"):
            raise InputError(f"quantize={self.quantize} is unknown; use one of nf4, none")
        self._check_out()

    @property
    def path(self) -> Path:
        """Where the file goes."""
        return Path(self.out).expanduser()

    def _check_out(self) -> None:
        if self.path.suffix.lower() not in (".yaml", ".yml"):
            raise InputError(f"out={self.out} has an unknown ending; use .yaml or .yml")
        if not self.path.parent.is_dir():
            raise InputError(f"out={self.out} is in a folder that does not exist; make {self.path.parent} first")
        if self.path.exists() and not self.overwrite:
            raise InputError(
                f"out={self.out} is there already, edited by someone or left by a command that was interrupted; give "
                "another file, or write it anew with overwrite=true"
            )


def main(arguments: list[str] | None = None) -> int:
    """Write the label texts of the data set that the arguments choose, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog=place.typed("label-texts"),
        description="Have a language model write a text for each label of a data set, into a YAML file for a person to "
        "edit and for dataset.label_texts to name. Keys of its own: "
        + ", ".join(f"{key.name} ({key.default!r})" for key in fields(WriterConfig))
        + ".",
        epilog="The model is shown the present label texts; dataset.label_texts=null shows it the labels' names alone.",
    )
    parser.add_argument("override", nargs="*", help="llm=FOLDER_OR_HUB_ID out=FILE KEY=VALUE; the rest as for a run")
    parser.add_argument("--config-dir", metavar="FOLDER", help="a folder of your own, with dataset/NAME.yaml")
    given = parser.parse_args(arguments)
    try:
        search_path = own.use(own.absolute(given.config_dir))
        writer, overrides = writer_config(given.override)
        return write(writer, composition.configured([*overrides, *search_path]), overrides)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    except mistakes.COMPOSITION_ERRORS as error:
        print(mistakes.explain(error), file=sys.stderr)
        return 1
    except RuntimeError as error:
        if "out of memory" not in str(error):
            raise
        print(
            f"llm={writer.llm} needs more memory than there is; set quantize=nf4 or give a smaller one", file=sys.stderr
        )
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def writer_config(overrides: list[str]) -> tuple[WriterConfig, list[str]]:
    """Return this command's own part of what was typed, and the rest.

    Raises:
        InputError: a key of this command is misspelt, or has several values or one that is not allowed.
    """
    own = {key.name: str(key.type) for key in fields(WriterConfig)}
    known = [*own, *keys.GROUPS, *keys.known_keys()]
    writer = OmegaConf.structured(WriterConfig)
    rest = []
    for override in OverridesParser.create().parse_overrides(overrides):
        key, line = override.key_or_group, str(override.input_line)
        if override.is_sweep_override():
            raise InputError(f"{line} asks for several files; ask for one at a time")
        if key in own and not override.is_delete():
            try:
                writer[key] = override.value()
            except ValidationError:
                raise InputError(f"{line} has a value of the wrong type; {key} takes {TYPES[own[key]]}") from None
        elif key not in known and nearest(key, list(own)):
            raise InputError(f"{key} is no key of this command{nearest(key, list(own))}")
        else:
            rest.append(line)
    made = OmegaConf.to_object(writer)
    assert isinstance(made, WriterConfig)
    return made, rest


def write(writer: WriterConfig, config: Config, overrides: list[str]) -> int:
    """Ask the language model for each label's text, write each as it comes, and return the exit status.

    Args:
        writer: this command's part of the configuration.
        config: the rest.
        overrides: what that was made from, for the command that uses the file.

    Raises:
        InputError: the data, the language model or the file is not to be had.
    """
    corpus = load_corpus(config.dataset, config.data_dir)
    threads.prepare()
    from lrsl.commands import label_writer  # noqa: PLC0415  (torch, now that there is something to ask)

    prompts = [
        label_writer.prompt(
            corpus,
            label,
            label_writer.examples_of(corpus, label, writer.examples, config.seed),
            config.dataset.language,
        )
        for label in range(len(corpus.labels))
    ]
    llm = label_writer.load_language_model(writer.llm, quantize=writer.quantize, max_new_tokens=writer.max_new_tokens)
    llm.check_length(prompts)
    use = shlex.join(
        [
            *(word for folder in place.added for word in ("--config-dir", str(folder))),
            *(line for line in overrides if line.partition("=")[0].lstrip("+") != "dataset.label_texts"),
            f"dataset.label_texts={writer.out}",
        ]
    )
    written: list[LabelText] = []
    try:
        for text in _followed(label_writer.write_label_texts(corpus, prompts, llm), len(prompts)):
            lines = label_writer.entry(text)
            _append(writer, lines if written else f"{_header(corpus.name, writer.llm, use)}\n{lines}", bool(written))
            written.append(text)
    except KeyboardInterrupt:
        so_far = f"; {writer.out} has {len(written)} of {len(prompts)} label texts" if written else ""
        print(f"interrupted{so_far}", file=sys.stderr)
        return 130
    kept = sum(bool(text.kept) for text in written)
    as_before = f" ({kept} of them as before, and a comment says why)" if kept else ""
    print(f"{writer.out} has {len(written)} label texts{as_before}; read and edit them, then")
    print(f"  {place.typed('run')} {use}")
    return 0


def _followed(written: Iterator[LabelText], total: int) -> Iterator[LabelText]:
    """Hand the texts on, and tell how far it is: a bar on a terminal, else a line per label."""
    if sys.stderr.isatty():
        yield from track(written, "label texts", total, console=Console(stderr=True), transient=True)
        return
    for done, text in enumerate(written, start=1):
        yield text
        print(f"label texts, {done}/{total}: {text.label}", flush=True)


def _append(writer: WriterConfig, lines: str, begun: bool) -> None:
    """Write lines to the file, closed again at once: an interruption loses nothing."""
    mode = "a" if begun else "w" if writer.overwrite else "x"
    try:
        with writer.path.open(mode, encoding="utf-8", newline="\n") as file:
            file.write(lines)
    except OSError as error:
        raise InputError(f"out={writer.out} cannot be written ({error.strerror}); give another file") from None


def _header(dataset: str, llm: str, use: str) -> str:
    lines = [
        f"Label texts of {dataset}, written by the language model {llm}.",
        "Read and edit them: each should tell texts with its label from all others.",
        "",
        f"  {place.typed('run')} {use}",
    ]
    return "".join(f"# {' '.join(line.splitlines())}".rstrip() + "\n" for line in lines)
