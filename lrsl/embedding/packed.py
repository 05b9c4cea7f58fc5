"""A text embedding as tensors, to be saved among other things that were learnt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from lrsl.embedding.text_embedding import load_embedding, save_embedding
from lrsl.nn.trust import check_runs_nothing

_FILE = re.compile(r"(?:[\w-]+/)*\w[\w.-]*\.(?:json|txt|model|safetensors)")  # settings, vocabularies and weights


def packed(embedding: SentenceTransformer) -> dict[str, Tensor]:
    """Return the files of an embedding's folder as bytes, by their names.

    Raises:
        InputError: a module of it is of the user's own, so that `unpacked` would refuse it.
    """
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        save_embedding(embedding, folder)
        check_runs_nothing(folder, "the encoder of a view")
        names = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        content = {name: path.read_bytes() for name, path in names.items() if _FILE.fullmatch(name)}
    return {name: torch.frombuffer(bytearray(of), dtype=torch.uint8) for name, of in content.items() if of}


def unpacked(files: Mapping[str, Tensor], what: str) -> SentenceTransformer:
    """Return the embedding that `packed` was given, on the CPU.

    Args:
        files: what `packed` returned.
        what: what an error calls it.

    Raises:
        ValueError: a file has a name that no setting, vocabulary or weights have.
        InputError: a setting names code, or the files are damaged.
    """
    with TemporaryDirectory() as scratch:
        for name, content in files.items():
            if not _FILE.fullmatch(name):
                raise ValueError(f"{name!r} is no file of an embedding; fit and save it anew")
            path = Path(scratch, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.cpu().numpy().tobytes())
        check_runs_nothing(Path(scratch), what)
        return load_embedding(scratch, key=what)
