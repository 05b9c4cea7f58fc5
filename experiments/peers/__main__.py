"""Measure other people's tools, and ours, on the same rows with the same encoder; written into peers.md.

python -m experiments.peers dataset=banking77 dataset.per_class=5 dataset.split_seed=null seed=0,1,2 out=FOLDER
python -m experiments.peers dataset=tsec3 seed=0,1,2 peers=linear_svm,setfit encoder=FOLDER out=FOLDER

What is not told here is typed as for a run. Each peer and seed has a process of its own; what FOLDER holds already is
not measured again, so that an interrupted command goes on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.peers import PEERS, page
from experiments.peers.asked import Asked, asked
from lrsl import files
from lrsl.data.load import load_corpus
from lrsl.errors import InputError, said


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for and not there yet, write the table, print it, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.peers",
        description="Measure other tools on the rows of a run. Keys of its own: seed (0), as in seed=0,1,2; "
        f"peers ({','.join(PEERS)}); encoder (that of the configuration); out, the folder that files go to.",
        epilog="example: python -m experiments.peers dataset=banking77 dataset.per_class=5 seed=0,1,2 out=FOLDER",
    )
    parser.add_argument("override", nargs="*", help="out=FOLDER KEY=VALUE; the rest as for a run")
    words = parser.parse_args(arguments).override
    try:
        given = asked(words)
        failed = measure(given)
        text = page.page(page.read(given.out))
        files.write(given.out / page.PAGE, text)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        if (reason := files.trouble(error)) is None:
            raise
        print(said(reason), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130
    print(text, end="")
    print(f"written: {given.out / page.PAGE}")
    return int(failed > 0)


def measure(given: Asked) -> int:
    """Measure, seed by seed, what is not there yet, and return how many peers have failed, which stop no other.

    Raises:
        InputError: there are no such rows.
    """
    folder, failed = given.folder(), 0
    config = given.configured(given.seeds[0])
    load_corpus(config.dataset, config.data_dir)  # what is wrong with the data is said once
    for seed in given.seeds:
        for peer in given.peers:
            file = folder / peer / f"seed{seed}.json"
            if is_done(page.result(file)):
                print(f"there already: {file}", flush=True)
                continue
            print(f"{peer}, seed {seed} …", flush=True)
            if status(command(given, peer, seed, file)) != 0:
                print(f"{peer}, seed {seed}: failed", file=sys.stderr, flush=True)
                failed += 1
    return failed


def is_done(found: dict[str, Any] | None) -> bool:
    """Tell whether a peer need not be measured again; one that was absent is looked for anew."""
    return found is not None and "absent" not in found


def command(given: Asked, peer: str, seed: int, file: Path) -> list[str]:
    """Return what measures one peer on one seed."""
    encoder = [] if given.encoder is None else [f"encoder={given.encoder}"]
    own = [f"seed={seed}", *encoder, f"out={given.out}"]
    return ["experiments.peers.one", peer, str(file), *given.overrides, *own]


def status(words: Sequence[str]) -> int:
    """Run a module in a process of its own, and return how that ended."""
    return subprocess.run([sys.executable, "-m", *words], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
