"""One peer and one seed, in a process of its own; what it came to is written into one file.

python -m experiments.peers.one PEER FILE dataset=banking77 dataset.per_class=5 seed=0 out=FOLDER
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lrsl.nn import threads

threads.prepare()  # before torch is loaded, as for a run

from experiments.peers.asked import Asked, asked  # noqa: E402
from experiments.peers.task import AbsentError, Answers, Peer, Task  # noqa: E402
from experiments.runs.portable import portable  # noqa: E402
from lrsl import files, fingerprint  # noqa: E402
from lrsl.data.load import load_corpus  # noqa: E402
from lrsl.errors import InputError, said  # noqa: E402
from lrsl.run import provenance  # noqa: E402
from lrsl.run.commit import commit  # noqa: E402

PACKAGES = ("scikit-learn", "torch", "transformers", "sentence-transformers", "pytorch-lightning", "setfit")


def measured(peer: str, given: Asked) -> dict[str, Any]:
    """Return what a peer came to on the first seed asked for, with all that belongs to the figures.

    Raises:
        InputError: as `load_corpus` and what the peer loads.
    """
    seed = given.seeds[0]
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    at = commit()  # now: someone may commit while this trains
    config = given.configured(seed)
    corpus = load_corpus(config.dataset, config.data_dir)
    encoder = config.model.pretrained
    task = Task(
        train=corpus.train,
        val=corpus.val,
        texts=corpus.test.texts,
        names=corpus.labels,
        label_texts=corpus.label_texts,
        encoder=encoder,
        recipe=config.model,
        seed=seed,
        hardware=config.trainer,
        overrides=given.overrides,
    )
    found = answers(peer, task)
    weights = fingerprint.folder_of(encoder)
    return {
        "peer": peer,
        "corpus": given.title,
        "seed": seed,
        "rows": {name: len(split) for name, split in splits(corpus).items()},
        "data": {name: split.fingerprint() for name, split in splits(corpus).items()},
        "encoder": portable(encoder),
        "weights": None if weights is None else fingerprint.of_folder(weights),
        **told(found, corpus.test.labels),
        "memory_mb": round(peak() / 1e6),
        "commit": at or "unknown",
        "machine": machine(),
        "load": None if load is None else round(load, 1),
        "versions": versions(found),
    }


def versions(found: Mapping[str, Answers] | str) -> dict[str, str]:
    """Return those of the packages that a peer is made of; where it has an environment of its own, those there."""
    own = {} if isinstance(found, str) else dict(next(iter(found.values())).versions)
    return own or {name: version for name in PACKAGES if (version := provenance.version(name)) is not None}


def splits(corpus: Any) -> dict[str, Any]:
    """Return the splits of a corpus by name."""
    return {name: getattr(corpus, name) for name in ("train", "val", "test")}


def answers(peer: str, task: Task) -> Mapping[str, Answers] | str:
    """Return what the systems of a peer answer, or in a sentence why there is no such peer here."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the libraries advise is not what is measured
            measure: Peer = importlib.import_module(f"experiments.peers.{peer}").measure
            return measure(task)
    except AbsentError as absent:
        return str(absent)


def told(found: Mapping[str, Answers] | str, gold: Sequence[int]) -> dict[str, Any]:
    """Return what is written of answers: accuracy, and seconds."""
    if isinstance(found, str):
        return {"absent": found}
    figures = {}
    for system, answered in found.items():
        assert len(answered.labels) == len(gold)
        right = sum(label == true for label, true in zip(answered.labels, gold, strict=True))
        figures[system] = {
            "accuracy": right / len(gold),
            "train_seconds": round(answered.train_seconds, 3),
            "seconds_per_1000": round(1000 * answered.predict_seconds / len(gold), 4),
        }
    return {"systems": figures}


def peak() -> int:
    """Return the most bytes that this process has held in memory, or one that it has waited for, if that is more."""
    import resource  # noqa: PLC0415  (not everywhere)

    unit = 1 if sys.platform == "darwin" else 1024
    own, others = (
        unit * resource.getrusage(whose).ru_maxrss for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        own = 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass  # the system does not say so
    return max(own, others)


def machine() -> str:
    """Return the class of this machine, and how many threads compute."""
    cores, torch = threads.cores(), sys.modules.get("torch")
    gpu = [torch.cuda.get_device_name()] if torch is not None and torch.cuda.is_available() else []
    number = os.environ.get("OMP_NUM_THREADS", str(cores))
    return ", ".join(
        [
            *gpu,
            f"{cores} CPU core{'s' if cores > 1 else ''} ({number} computing)",
            platform.machine(),
            platform.system(),
        ]
    )


def main(words: Sequence[str] | None = None) -> int:
    """Measure, write the file, and return the exit status."""
    peer, file, *rest = sys.argv[1:] if words is None else words
    try:
        found = measured(peer, asked(rest))
        files.write(Path(file), json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    except Exception as error:
        refused = files.trouble(error, [Path(file).parent, Path(tempfile.gettempdir())])
        if refused is None and not isinstance(error, InputError):
            raise
        print(said(refused or error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
