"""Rerank any number of rows with what `lrsl fit` has saved, in memory that does not grow with them.

lrsl rerank my-reranker --logits test.npy --texts test.csv --out answers.jsonl
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrsl.commands import answering
from lrsl.commands import given as of
from lrsl.errors import InputError

if TYPE_CHECKING:
    from lrsl.data.logits import LogitsFile
    from lrsl.plugin.output import Output

AT_ONCE = 4096
FLAGS = ("logits_key", "text_key", "quoting", "k", "at_once", "backend")
"""Those on which the answers depend."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Rerank, write answers, and return the exit status."""
    typed = _parser().parse_args(arguments)
    return of.status(lambda: _rerank(typed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lrsl rerank",
        usage="lrsl rerank RERANKER --logits FILE --texts TABLE --out FILE [flags]",
        description="Give each row an answer, whether it is hard, and its candidates with their scores before and\n"
        "after. Memory does not grow with the rows. Cut off, the same command goes on where it was.",
        epilog="example: lrsl rerank my-reranker --logits test.npy --texts test.csv --out answers.jsonl",
        formatter_class=of.Help,
    )
    parser.add_argument("reranker", type=Path, metavar="RERANKER", help="a folder that lrsl fit has saved")
    of.add_files(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="answers: .jsonl, .csv or .parquet")
    parser.add_argument("--k", type=int, help="candidates per row (the reranker's k)")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, metavar="ROWS", help=f"rows held in memory ({AT_ONCE})")
    of.add_backend(parser)
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    return parser


def _rerank(typed: argparse.Namespace) -> None:
    from lrsl import fingerprint  # noqa: PLC0415
    from lrsl.data.logits import look_at  # noqa: PLC0415
    from lrsl.data.rows import count  # noqa: PLC0415
    from lrsl.plugin.output import Output  # noqa: PLC0415

    if typed.at_once < 1:
        raise InputError(f"--at-once is {typed.at_once}; it must be at least 1")
    if not typed.reranker.is_dir():
        raise InputError(f"{typed.reranker} is no folder; name one that lrsl fit has saved")
    logits, texts = look_at(typed.logits, typed.logits_key), count(typed.texts, typed.quoting)
    if logits.rows != texts:
        raise InputError(
            f"{typed.logits} has {logits.rows:,} rows of logits, and {typed.texts} has {texts:,} texts; give a row of "
            "logits for each text"
        )
    made_of = {
        "reranker": fingerprint.of_folder(typed.reranker),
        "logits": fingerprint.sha256(typed.logits),
        "texts": fingerprint.of_folder(typed.texts) if typed.texts.is_dir() else fingerprint.sha256(typed.texts),
        "flags": {name: getattr(typed, name) for name in FLAGS},
    }
    with Output.opened(typed.out, made_of, texts) as output:
        if not output.whole:
            _write(typed, output, logits)
        answering.tell(output)


def _write(typed: argparse.Namespace, output: Output, logits: LogitsFile) -> None:
    from lrsl.data.rows import texts  # noqa: PLC0415
    from lrsl.plugin.columns import check_names  # noqa: PLC0415
    from lrsl.plugin.reranker import Reranker  # noqa: PLC0415

    reranker = Reranker.from_pretrained(typed.reranker, backend=typed.backend)
    if logits.names is not None:
        check_names(logits.names, reranker.names or reranker.label_texts)
    found = islice(texts(typed.texts, typed.text_key, typed.quoting), output.rows, None)

    def answer(chunk: Any, start: int) -> list[Any]:
        some = list(islice(found, len(chunk)))
        return answering.answered(lambda: reranker.answers(chunk, some, typed.k), start, len(chunk))

    progress = answering.Progress(output.rows, logits.rows, quiet=typed.quiet)
    answering.fill(output, logits.chunks(typed.at_once, output.rows), answer, progress)
