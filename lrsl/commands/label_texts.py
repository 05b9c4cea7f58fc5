"""Have a language model write what the labels of a data set mean, into a file for a person to edit.

lrsl label-texts dataset=tsec3 data_dir=FOLDER llm=FOLDER_OR_HUB_ID out=label_texts.yaml
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from omegaconf.errors import ValidationError
from rich.console import Console
from rich.progress import track

from lrsl import stopping
from lrsl.commands.label_file import LabelTextFile
from lrsl.config import composition, keys, own, place
from lrsl.config.schema import Config
from lrsl.data.corpus import Corpus
from lrsl.data.load import load_corpus
from lrsl.errors import InputError, nearest
from lrsl.nn import threads

if TYPE_CHECKING:
    from lrsl.commands.label_writer import LabelText
    from lrsl.embedding.separation import Separation

ASKED = ("examples", "max_new_tokens", "quantize", "at_once", "separation")
"""Keys of this command that change what is written."""
INTERRUPTED = "interrupted"
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
    at_once: int = 8
    """Labels that the language model is asked about together; more take more memory."""
    separation: bool = True
    """Whether an answer is only taken where it separates the label's training texts better, off the shelf."""
    overwrite: bool = False
    """Whether a file that is there already may be written anew."""

    def __post_init__(self) -> None:
        """Check what can be checked without loading anything."""
        if not self.llm:
            raise InputError("llm is not set; give llm=FOLDER, or the hub id of a model tuned to follow instructions")
        for key, least in (("examples", 0), ("max_new_tokens", 1), ("at_once", 1)):
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


def main(arguments: list[str] | None = None) -> int:
    """Write the label texts of the data set that the arguments choose, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog=place.typed("label-texts"),
        description="Have a language model write a text for each label of a data set, into a YAML file for a person to "
        "edit and for dataset.label_texts to name. Keys of its own: "
        + ", ".join(f"{key.name} ({key.default!r})" for key in fields(WriterConfig))
        + ".",
        epilog="The model is shown the present label texts; dataset.label_texts=null shows it the labels' names alone. "
        f"Example: {place.typed('label-texts')} dataset=banking77 llm=FOLDER_OR_HUB_ID out=labels.yaml",
    )
    parser.add_argument("override", nargs="*", help="llm=FOLDER_OR_HUB_ID out=FILE KEY=VALUE; the rest as for a run")
    parser.add_argument("--config-dir", metavar="FOLDER", help="a folder of your own, with dataset/NAME.yaml")
    parser.add_argument(
        "--compare",
        nargs="+",
        metavar="TEXTS",
        help="write nothing, and print what similarity alone, off the shelf, is worth with label texts: names, own for "
        "those that are configured, or files",
    )
    given = parser.parse_args(arguments)
    with stopping.handled(lambda _: INTERRUPTED):
        return _done(given)


def _done(given: argparse.Namespace) -> int:
    try:
        search_path = own.use(own.absolute(given.config_dir))
        if given.compare:
            return _compared(given.compare, [*given.override, *search_path])
        writer, overrides = writer_config(given.override)
        return write(writer, composition.configured([*overrides, *search_path]), overrides)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    except RuntimeError as error:
        if given.compare or "out of memory" not in str(error):
            raise
        print(
            f"llm={writer.llm} needs more memory than there is; set quantize=nf4 or give a smaller one", file=sys.stderr
        )
        return 1
    except (KeyboardInterrupt, stopping.Stopped) as stop:
        print(INTERRUPTED, file=sys.stderr)
        return _status(stop)


def _status(stop: KeyboardInterrupt | stopping.Stopped) -> int:
    return stop.status if isinstance(stop, stopping.Stopped) else 130


def _compared(texts: list[str], overrides: list[str]) -> int:
    own_keys = {key.name for key in fields(WriterConfig)}
    if idle := [override for override in overrides if override.partition("=")[0] in own_keys]:
        raise InputError(f"{idle[0]} has no effect with --compare, which writes nothing; leave it out")
    config = composition.configured(overrides)
    threads.prepare()
    from lrsl.commands.label_comparison import compare  # noqa: PLC0415  (sentence-transformers, only if asked for)

    print(compare(texts, config))
    return 0


@composition.in_a_sentence()
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
    use = shlex.join(
        [
            *(word for folder in place.added for word in ("--config-dir", str(folder))),
            *(line for line in overrides if line.partition("=")[0].lstrip("+") != "dataset.label_texts"),
            f"dataset.label_texts={writer.out}",
        ]
    )
    file = LabelTextFile(writer.path, _header(corpus.name, writer, use), corpus.labels, overwrite=writer.overwrite)
    threads.prepare()
    from lrsl.commands import label_writer  # noqa: PLC0415  (torch, now that there is something to ask)

    count = len(corpus.labels)
    examples = [label_writer.examples_of(corpus, label, writer.examples, config.seed) for label in range(count)]
    prompts = [label_writer.prompt(corpus, label, examples[label], config.dataset.language) for label in range(count)]
    llm = label_writer.load_language_model(writer.llm, quantize=writer.quantize, max_new_tokens=writer.max_new_tokens)
    llm.check_length(prompts)
    separation = _separation(corpus, config, file.known) if writer.separation else None
    before = separation.accuracy() if separation else 0.0
    written: list[LabelText] = []
    if file.known:
        print(f"going on with {writer.out}, which has {len(file.known)} of {count} label texts", flush=True)
    try:
        texts = label_writer.write_label_texts(
            corpus,
            prompts,
            llm,
            examples=examples,
            separation=separation,
            known=file.known,
            language=config.dataset.language,
            at_once=writer.at_once,
        )
        for text in _followed(texts, len(file.known), count):
            file.append(label_writer.entry(text))
            written.append(text)
    except (KeyboardInterrupt, stopping.Stopped) as stop:
        done = len(file.known) + len(written)
        kept = f"; {writer.out} has {done} of {count} label texts, and the same command goes on with it"
        print(f"{INTERRUPTED}{kept if done else ''}", file=sys.stderr)
        return _status(stop)
    print(f"{writer.out} has {count} label texts{_told(written)}; read and edit them, then")
    print(f"  {place.typed('run')} {use}")
    if separation:
        print(
            f"similarity alone, off the shelf, is right on {100 * separation.accuracy():.1f} % of "
            f"{len(separation.labels)} training texts; it was on {100 * before:.1f} %"
        )
    return 0


def _separation(corpus: Corpus, config: Config, known: Mapping[str, str]) -> Separation:
    """Return what compares texts of labels, on some training texts of each label."""
    from lrsl.embedding.separation import Separation, measured  # noqa: PLC0415  (sentence-transformers, if asked for)
    from lrsl.embedding.text_embedding import configured_embedding  # noqa: PLC0415

    drawn = measured(corpus.train, config.seed)
    return Separation(
        configured_embedding(config.embedding),
        drawn.texts,
        drawn.labels,
        [known.get(name, text) for name, text in zip(corpus.labels, corpus.label_texts, strict=True)],
    )


def _told(written: list[LabelText]) -> str:
    """Return how many texts are as before, and why, for the end of the command."""
    from lrsl.commands.label_writer import FAULTS  # noqa: PLC0415  (has torch, which is loaded by now)

    faults = Counter(text.fault for text in written if text.fault)
    told = [f"{faults.total()} as before, and a comment says why"] if faults else []
    told += [f"{faults[fault]} times {reason}" for fault, reason in FAULTS.items() if faults[fault]]
    if shortened := sum(text.shortened for text in written):
        told.append(f"{shortened} cut to the first sentence")
    if named := sum(text.named for text in written):
        told.append(f"{named} taken although the label's name is in it")
    return f" ({'; '.join(told)})" if told else ""


def _followed(written: Iterator[LabelText], known: int, total: int) -> Iterator[LabelText]:
    """Hand the texts on, and tell how far it is: a bar on a terminal, else a line per label."""
    if sys.stderr.isatty():
        console = Console(stderr=True)
        yield from track(written, "label texts", total, completed=known, console=console, transient=True)
        return
    for done, text in enumerate(written, start=known + 1):
        yield text
        print(f"label texts, {done}/{total}: {text.label}", flush=True)


def _header(dataset: str, writer: WriterConfig, use: str) -> str:
    default = {key.name: key.default for key in fields(WriterConfig)}
    asked = [f"{key}={value}".lower() for key in ASKED if (value := getattr(writer, key)) != default[key]]
    lines = [
        f"Label texts of {dataset}, written by the language model {writer.llm}{' with ' if asked else ''}"
        f"{', '.join(asked)}.",
        "Read and edit them: each should tell texts with its label from all others.",
        "",
        f"  {place.typed('run')} {use}",
    ]
    return "".join(f"# {' '.join(line.splitlines())}".rstrip() + "\n" for line in lines)
