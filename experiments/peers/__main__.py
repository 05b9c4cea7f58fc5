"""Measure other people's tools, and ours, on the same rows with the same encoder; written into peers.md.

python -m experiments.peers dataset=banking77 dataset.per_class=5 dataset.split_seed=null seed=0,1,2 out=FOLDER
python -m experiments.peers dataset=tsec3 seed=0,1,2 peers=linear_svm,setfit encoder=FOLDER out=FOLDER

What is not told here is typed as for a run. Each peer and seed has a process of its own; what FOLDER holds already is
not measured again, so that an interrupted command goes on.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any


def stopped(number: int) -> str:
    """Return what is said when the command is told to stop."""
    return f"stopped by {signal.Signals(number).name}; what was measured before is kept, and the same command goes on"


def leave(number: int, _: Any) -> None:
    """End at once when told to stop while nothing is loaded yet; `lrsl.stopping` takes over from here."""
    os.write(2, f"{stopped(number)}\n".encode())
    os._exit(128 + number)


def hang_up(*_: Any) -> None:
    """Stop when the terminal is closed, of which processes with a session of their own hear nothing."""
    signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    for _signal, _default, _handler in (
        (signal.SIGINT, signal.default_int_handler, leave),
        (signal.SIGTERM, signal.SIG_DFL, leave),
        (signal.SIGHUP, signal.SIG_DFL, hang_up),
    ):
        if signal.getsignal(_signal) is _default:
            signal.signal(_signal, _handler)

import argparse  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from contextlib import suppress  # noqa: E402
from pathlib import Path  # noqa: E402

from experiments.peers import PEERS, page  # noqa: E402
from experiments.peers.asked import Asked, asked  # noqa: E402
from lrsl import files, stopping  # noqa: E402
from lrsl.commands import closed  # noqa: E402
from lrsl.data.load import load_corpus  # noqa: E402
from lrsl.errors import InputError, said  # noqa: E402


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
    with stopping.handled(stopped):
        try:
            return tabulate(asked(words))
        except InputError as error:
            print(error, file=sys.stderr)
        except BrokenPipeError:
            return closed.give_up()
        except OSError as error:
            if (reason := files.trouble(error)) is None:
                raise
            print(said(reason), file=sys.stderr)
        except stopping.Stopped as stop:
            return stopping.end(stop.number)
    return 1


def tabulate(given: Asked) -> int:
    """Measure, write and print the table of all that the folder holds, and return the exit status.

    Raises:
        InputError: as `measure` and `page.page`.
    """
    failed = measure(given)
    found = page.read(given.out)
    if not found:
        return 1  # why, each has said itself
    text = page.page(found)
    files.write(given.out / page.PAGE, text)
    print(text, end="")
    print(f"written: {given.out / page.PAGE}", flush=True)
    return int(failed > 0)


def measure(given: Asked) -> int:
    """Measure, seed by seed, what is not there yet, and return how many peers have failed, which stop no other.

    Raises:
        InputError: there are no such rows, or no such encoder.
    """
    folder, failed = given.folder(), 0
    config = given.configured(given.seeds[0])
    load_corpus(config.dataset, config.data_dir)  # what is wrong with the data is said once
    asked_for = [(peer, seed, folder / peer / f"seed{seed}.json") for seed in given.seeds for peer in given.peers]
    there = {file for _, _, file in asked_for if is_done(page.result(file))}
    if len(there) < len(asked_for):
        check_encoder(config.model.pretrained)
    for peer, seed, file in asked_for:
        if file in there:
            print(f"there already: {file}", flush=True)
            continue
        print(f"{peer}, seed {seed} …", flush=True)
        if status(command(given, peer, seed, file)) != 0:
            print(f"{peer}, seed {seed}: failed", file=sys.stderr, flush=True)
            failed += 1
    return failed


def check_encoder(encoder: str) -> None:
    """Load an encoder, so that what is wrong with it is said once, and before anything is measured.

    Raises:
        InputError: it is no model.
    """
    from lrsl.nn.pretrained import load_encoder, load_tokenizer  # noqa: PLC0415  (torch, now that it is needed)

    load_encoder(encoder, "encoder")
    load_tokenizer(encoder, "encoder")


def is_done(found: dict[str, Any] | None) -> bool:
    """Tell whether a peer need not be measured again; one that was absent is looked for anew."""
    return found is not None and "absent" not in found


def command(given: Asked, peer: str, seed: int, file: Path) -> list[str]:
    """Return what measures one peer on one seed."""
    encoder = [] if given.encoder is None else [f"encoder={given.encoder}"]
    own = [f"seed={seed}", *encoder, f"out={given.out}"]
    return ["experiments.peers.one", peer, str(file), *given.overrides, *own]


def status(words: Sequence[str]) -> int:
    """Run a module in a process of its own, and return how that ended.

    With it, or when this is told to stop, all processes that it has started end, and its temporary files go.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        stopping.begin_step()  # nothing stops between its start and what ends it
        process = subprocess.Popen(
            [sys.executable, "-m", *words], env={**os.environ, "TMPDIR": scratch}, start_new_session=True
        )
        try:
            stopping.end_step()
            stopping.check()
            return process.wait()
        finally:
            with suppress(ProcessLookupError, PermissionError):  # where none is left
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
