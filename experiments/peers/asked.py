"""What is typed: this command's own keys, and those of a run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.peers import PEERS
from experiments.runs.portable import portable_override
from lrsl.config import composition, identity
from lrsl.config.quotation import typed_text
from lrsl.config.schema import Config
from lrsl.errors import InputError, nearest
from lrsl.paths import home_of

OWN = ("seed", "peers", "encoder", "out")
"""Keys of this command."""
GIVEN = {
    "model.pretrained": "encoder=FOLDER, which all start from",
    "embedding.pretrained": "encoder=FOLDER, which all start from",
    "reranker.deploy": "nothing: what each rule answers is measured by itself",
    "reranker.control": "nothing: there is no second classifier in it",
    "reranker.folds": "nothing: val chooses for all alike",
}
"""Keys of a run that are set here, and what is given in their place."""


@dataclass(frozen=True)
class Asked:
    """What is to be measured.

    Attributes:
        overrides: what makes the rows and the run, as typed.
        seeds: in the order typed.
        peers: names of `PEERS`.
        encoder: what is typed for it; None leaves it to the configuration.
        out: where files go.
    """

    overrides: tuple[str, ...]
    seeds: tuple[int, ...]
    peers: tuple[str, ...]
    encoder: str | None
    out: Path

    def configured(self, seed: int) -> Config:
        """Return the configuration of the run whose rows these are.

        Raises:
            InputError: as `composition.configured`.
        """
        encoder = [] if self.encoder is None else [quoted("model.pretrained", self.encoder)]
        config = composition.configured([*self.overrides, *encoder, f"seed={seed}"])
        config.embedding.pretrained = config.model.pretrained
        if config.model.architecture != "encoder":
            raise InputError(f"model.architecture={config.model.architecture} has no peers; use encoder")
        return config

    def folder(self) -> Path:
        """Return where the files of this corpus go: one place for what is typed, the seeds aside.

        What a later version sets by itself makes no other place, so that its tools stand beside those measured before.
        """
        name = identity.file_name(self.configured(0).dataset.name)
        return self.out / f"{name}-{identity.digest({'typed': sorted(self.typed)})}"

    @property
    def title(self) -> str:
        """What the table is called: the keys typed, without folders of this machine."""
        return " ".join(map(portable_override, self.typed))

    @property
    def typed(self) -> list[str]:
        """The keys typed that tell which rows and which encoder, as typed."""
        encoder = [] if self.encoder is None else [f"encoder={self.encoder}"]
        return [*(override for override in self.overrides if not override.startswith("data_dir=")), *encoder]


def asked(words: Sequence[str]) -> Asked:
    """Return what the words after the command ask for.

    Raises:
        InputError: one is no KEY=VALUE, has a value that is not allowed, or is set by this command itself.
    """
    own: dict[str, str] = {}
    rest = []
    for word in words:
        key, sign, value = word.partition("=")
        if not sign:
            raise InputError(f"{word} is no KEY=VALUE; write it as in dataset=banking77")
        if key.lstrip("+") in GIVEN:
            raise InputError(f"{key} is set by this command; give {GIVEN[key.lstrip('+')]}")
        if key in OWN and key in own:
            raise InputError(f"{key} is given twice; give it once")
        if key in OWN:
            own[key] = value
        else:
            rest.append(word)
    if not own.get("out"):
        raise InputError("out is not set; give out=FOLDER, where the files and the table go")
    if own.get("encoder") == "":
        raise InputError("encoder is empty; give encoder=FOLDER, or a hub id")
    return Asked(tuple(rest), seeds(own.get("seed", "0")), peers(own.get("peers")), own.get("encoder"), out(own["out"]))


def quoted(key: str, text: str) -> str:
    """Return `key=text` as Hydra takes it whatever the text."""
    return shlex.split(typed_text(key, text))[0]


def seeds(text: str) -> tuple[int, ...]:
    """Return whole numbers separated by commas.

    Raises:
        InputError: one is none, or stands twice.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words):
        raise InputError(f"seed={text} is no list of whole numbers; write it as in seed=0,1,2")
    found = tuple(map(int, words))
    if len(set(found)) < len(found):
        raise InputError(f"seed={text} has a number twice")
    return found


def peers(text: str | None) -> tuple[str, ...]:
    """Return names of peers separated by commas; all of them for None.

    Raises:
        InputError: one is unknown, or stands twice.
    """
    if text is None:
        return PEERS
    found = tuple(word.strip() for word in text.split(","))
    for name in found:
        if name not in PEERS:
            raise InputError(f"peers={name} is unknown; use some of {', '.join(PEERS)}{nearest(name, list(PEERS))}")
    if len(set(found)) < len(found):
        raise InputError(f"peers={text} has a name twice")
    return found


def out(text: str) -> Path:
    """Return the folder that files go to.

    Raises:
        InputError: it is a file.
    """
    folder = home_of(text)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"out={text} is a file; give a folder")
    return folder
