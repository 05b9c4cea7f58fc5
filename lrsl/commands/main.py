"""The command `lrsl`: one table of what can be typed after it, each loaded when it is typed.

To add a command, write a file here with `main(arguments) -> int` and enter it in `COMMANDS`.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from lrsl import files, stopping
from lrsl.commands import closed
from lrsl.config import place
from lrsl.errors import nearest, said
from lrsl.masking import masked_command
from lrsl.text import visible


class Command(NamedTuple):
    """A command: where its `main` is, and what it does in a few words.

    A module of `experiments` is reached through `lrsl.commands.studies`.
    """

    module: str
    about: str


COMMANDS = {
    "run": Command("lrsl.commands.run", "train a classifier, rerank its hard samples, report; sweeps with -m"),
    "fit": Command("lrsl.commands.fit", "fit a reranker on a classifier you have, and say whether it pays"),
    "rerank": Command("lrsl.commands.rerank", "rerank any number of rows with what fit has saved; takes up again"),
    "predict": Command("lrsl.commands.predict", "answer new texts with a finished run's classifier and reranker"),
    "explain": Command("lrsl.commands.explain", "show why a text has the answer that a finished run gives it"),
    "demo": Command(
        "lrsl.commands.demo", "fit and rerank on the corpus that comes along, in a minute, with no network"
    ),
    "serve": Command("lrsl.commands.serve", "answer over HTTP with what fit has saved, or with a run; with a page"),
    "card": Command("lrsl.commands.card", "print a data set's card: splits, lengths, labels, licence"),
    "label-texts": Command("lrsl.commands.label_texts", "have a language model write what the labels mean"),
    "store": Command("lrsl.commands.store", "list or prune what stages have made"),
    "replay": Command("lrsl.commands.replay", "fit and measure other rules on runs that have finished; trains nothing"),
    "tables": Command("experiments.tables.__main__", "render the paper's tables from runs"),
    "figures": Command("experiments.figures.__main__", "draw the paper's figures from runs"),
    "report": Command("experiments.report.__main__", "write a sweep's report, one HTML file"),
    "record": Command("experiments.record", "keep a sweep's runs among the recorded results"),
    "rejudge": Command("experiments.rejudge", "fit and judge the rules of recorded runs again"),
    "completion": Command("lrsl.commands.completion", "print a script that completes lrsl in bash, zsh or fish"),
}
HELP = ("-h", "--help")
MODE = "WANDB_MODE"

FIRST = """\
LRSL: logits reranking via semantic labels, for the samples a text classifier hesitates on.

Type this first; it trains on the data set that comes along, needs no account, and takes minutes on a CPU:

  lrsl run logger=csv

Then your own texts, in files with a column of texts and one of labels:

  lrsl card dataset=custom dataset.train=train.csv dataset.test=test.csv
  lrsl run dataset=custom dataset.train=train.csv dataset.test=test.csv logger=csv

For a look within a minute: lrsl demo. For a classifier you have already: lrsl fit --help. New texts are answered by
what a run has left: lrsl predict --help. lrsl --help lists all commands."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit status."""
    _open_streams()
    try:
        try:
            return _done(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        return closed.give_up()
    except OSError as error:
        if (reason := files.trouble(error)) is None:
            raise
        print(said(reason), file=sys.stderr)
        return 1


def _open_streams() -> None:
    """Take a standard stream that is closed, as for a program in the background, for one without content."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  (for the whole process)


def _done(arguments: Sequence[str] | None) -> int:
    typed = list(sys.argv[1:] if arguments is None else arguments)
    if not typed or typed[0] in (*HELP, "--version"):
        print(_of_itself(typed))
        return 0
    name, *rest = typed
    if name not in COMMANDS:
        hint = nearest(name, list(COMMANDS))
        print(said(f"lrsl {name} is no command{hint}; lrsl --help lists them"), file=sys.stderr)
        return 2
    try:
        if name == "run" and not set(rest).isdisjoint(HELP):
            return _help_of_run(rest)
        if name == "run":
            return _run(rest)
        with _without_wandb():
            return command(name)(rest)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


@contextmanager
def _without_wandb() -> Iterator[None]:
    """Hide from transformers that W&B is to be offline, of which it prints a line among the answers of a command."""
    mode = os.environ.pop(MODE, None)
    try:
        yield
    finally:
        if mode is not None:
            os.environ[MODE] = mode


def command(name: str) -> Callable[[list[str]], int]:
    """Return the function of a command that takes what is typed after it and returns the exit status."""
    module = COMMANDS[name].module
    if module.startswith("experiments."):
        from lrsl.commands import studies  # noqa: PLC0415

        loaded = studies.load(module.removeprefix("experiments."))
    else:
        loaded = import_module(module)
    function: Callable[[list[str]], int] = loaded.main
    return function


def help_text() -> str:
    """Return what `lrsl --help` prints."""
    width = max(map(len, COMMANDS)) + 2
    return "\n".join(
        [
            "usage: lrsl COMMAND ...",
            "",
            "Logits reranking via semantic labels: better answers on the samples a text classifier hesitates on.",
            "",
            *(f"  {name:{width}}{command.about}" for name, command in COMMANDS.items()),
            "",
            "lrsl COMMAND --help says what can be typed after it; lrsl alone, what to type first; lrsl --version.",
        ]
    )


def _run(typed: Sequence[str]) -> int:
    """Do what `lrsl run` does, and stop with a sentence when told to."""
    with stopping.handled(lambda number: _said(number, typed)):
        try:
            return command("run")([*typed])
        except stopping.Stopped as stop:
            return stopping.end(stop.number)


def _said(number: int, typed: Sequence[str]) -> str:
    """Return what is said of a run, or a sweep, that is told to stop."""
    journal = sys.modules.get("lrsl.sweep.journal")
    left = journal.leave_out(f"not finished: stopped by {signal.Signals(number).name}") if journal else []
    command = place.typed("run")
    if command.startswith("python "):
        command = f"python {shlex.quote(sys.argv[0])}"
    sentence = stopping.sentence(number, command, typed)
    return visible(
        "\n".join([*(f"not finished: {' '.join(masked_command(overrides))}" for overrides in left), sentence])
    )


def _of_itself(typed: Sequence[str]) -> str:
    if not typed:
        return FIRST
    if typed[0] in HELP:
        return help_text()
    from lrsl import __version__  # noqa: PLC0415  (takes a look at what is installed)

    return f"lrsl {__version__}"


def _help_of_run(arguments: Sequence[str]) -> int:
    from lrsl.config import help, own  # noqa: PLC0415
    from lrsl.errors import InputError  # noqa: PLC0415

    try:
        _, folders = own.take(arguments)
        own.use(folders)
        print(help.help_text(folders))
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
