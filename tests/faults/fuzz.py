"""Inputs that were changed at random, given to readers, results and report: each is read, or refused in a sentence.

python tests/faults/fuzz.py --inputs 20000 --out FOLDER
"""

from __future__ import annotations

import argparse
import copy
import gzip
import io
import json
import logging
import random
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

import pyarrow as pa
import torch
import yaml
from pyarrow import parquet
from rich.console import Console
from safetensors.torch import save_file

from experiments.report import content, jobs, write
from experiments.report.reproduction import reproduction
from experiments.report.suspect_labels import suspects_table
from experiments.runs import collect, significance
from experiments.runs.configurations import configurations
from experiments.runs.labels import described
from experiments.runs.telling import telling
from lrsl.commands import replay
from lrsl.config.schema import DatasetConfig
from lrsl.data import load_corpus
from lrsl.errors import InputError
from lrsl.run import results, scored
from lrsl.sweep import summary
from lrsl.text import visible

LONGEST_SENTENCE = 1600
"""Characters of a refusal, beyond which it counts as a failure."""
LONGEST_SECONDS = 10.0
"""What one input may take on a busy machine."""

ODD = (
    *(
        b"",
        b"\0",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b'"',
        b'""',
        b"'",
        b"\\",
        b"\r",
        b"\n",
        b"\r\n",
        b"\t",
    ),
    *(b",", b",,", b"{", b"}", b"[", b"]", b":", b"NaN", b"Infinity", b"-Infinity", b"null", b"true", b"1e999", b"-0"),
    *(b"9" * 5000, b"[" * 5000, b'{"a":' * 5000, b"\\ud800", b"\\u0000", b"=1+1", b"\x1b[2J", "\u202e".encode()),
    *(
        "\u2028".encode(),
        "\U0001f600".encode(),
        b"x" * 100_000,
        b"," * 3000,
        b"../../etc/passwd",
        b"%s%n",
        b"${oc.env:HOME}",
    ),
)
"""What is put into the bytes of a file."""
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**70), 10**300, 0.5, float("nan"), float("inf"), -0.0, 1e308),
    *("", " ", "x", "\0", "\ud800", "=1+1", "\x1b[2J", "../x", "9" * 500, "x" * 5000, "finished", "failed"),
    *([], {}, [[]], [None], {"": 1}, ["a", 1], [["a", 0.5]], {"accuracy": "x"}),
)
"""What is put in the place of a value of JSON."""


@dataclass
class Counted:
    """What became of the inputs.

    Attributes:
        read: inputs that were read, by what they were.
        refused: inputs that were refused with a sentence.
        failed: inputs that ended in anything else.
        failures: the first failure of each kind, in a line.
        seconds: what it took.
    """

    read: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def tried(self) -> int:
        """Number of inputs."""
        return sum(map(Counter.total, (self.read, self.refused, self.failed)))

    def __str__(self) -> str:
        lines = [
            f"{kind}: {self.read[kind]:,} read, {self.refused[kind]:,} refused, {self.failed[kind]:,} failed"
            for kind in sorted({*self.read, *self.refused, *self.failed})
        ]
        total = (
            f"{self.tried:,} inputs in {self.seconds:.0f} s: {self.read.total():,} read, {self.refused.total():,} "
            f"refused with a sentence, {self.failed.total():,} failed"
        )
        return "\n".join([*lines, *self.failures.values(), total])


@dataclass(frozen=True)
class Target:
    """Something that reads files.

    Attributes:
        files: valid files by their names, each with its content.
        changed: the names of those that are changed.
        read: reads them in a folder.
        weight: how often it is tried beside others.
    """

    files: dict[str, bytes]
    changed: tuple[str, ...]
    read: Callable[[Path], object]
    weight: int = 10


def fuzz(
    inputs: int, *, seed: int = 0, out: Path | None = None, seconds: float = 360.0, only: Sequence[str] = ()
) -> Counted:
    """Change valid files at random and have them read.

    Args:
        inputs: how many.
        seed: of the changes; the same ones for the same seed.
        out: where the files of what failed are kept, the first of each kind.
        seconds: after which no further input is tried.
        only: names of what reads them; all of them unless given.
    """
    logging.disable(logging.ERROR)
    rng, counted, started = random.Random(seed), Counted(), time.monotonic()
    named = targets()
    names = [*only] or [name for name, target in named.items() for _ in range(target.weight)]
    try:
        with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings(), _silent():
            warnings.simplefilter("ignore")
            for number in range(inputs):
                if time.monotonic() - started > seconds:
                    break
                folder = Path(scratch) / "input"
                name = "a report" if number % 1000 == 999 and not only else rng.choice(names)
                _try(name, named, rng, folder, counted, out, number)
                shutil.rmtree(folder, ignore_errors=True)
    finally:
        logging.disable(logging.NOTSET)
    counted.seconds = time.monotonic() - started
    return counted


def _try(
    name: str,
    named: dict[str, Target],
    rng: random.Random,
    folder: Path,
    counted: Counted,
    out: Path | None,
    number: int,
) -> None:
    target = named[name]
    folder.mkdir()
    chosen = rng.choice(target.changed)
    for file, whole in target.files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(changed(file, whole, rng) if file == chosen else whole)
    significance.answered.cache_clear()
    began = time.monotonic()
    try:
        target.read(folder)
        outcome, reason = counted.read, ""
    except InputError as error:
        outcome, reason = counted.refused, ""
        if len(str(error)) > LONGEST_SENTENCE or "\n" in str(error) or visible(str(error)) != str(error):
            outcome, reason = counted.failed, f"no sentence: {str(error)[:200]!r}"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        outcome = counted.failed
        reason = f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}: {str(error)[:100]!r}"
    if not reason and time.monotonic() - began > LONGEST_SECONDS:
        outcome, reason = counted.failed, f"took {time.monotonic() - began:.1f} s"
    outcome[name] += 1
    kind = f"{name}, {reason.partition(': ')[0]}"
    if reason and kind not in counted.failures:
        counted.failures[kind] = f"FAILED {name}, {chosen}, input {number}: {reason}"
        if out is not None:
            shutil.copytree(folder, out / f"{number}-{name}", dirs_exist_ok=True)
            (out / f"{number}-{name}.txt").write_text(f"{chosen}\n{reason}\n", encoding="utf-8", errors="replace")


def changed(name: str, whole: bytes, rng: random.Random) -> bytes:
    """Return a file's content with a few changes: of its bytes, or of the values of its JSON."""
    packed = name.endswith(".gz")
    inner = gzip.decompress(whole) if packed and rng.random() < 0.8 else whole
    made = inner
    if (
        name.removesuffix(".gz").endswith((".json", ".jsonl"))
        and (inner is not whole or not packed)
        and rng.random() < 0.6
    ):
        made = _changed_json(inner, rng)
    if made is inner or rng.random() < 0.1:
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            made = _changed_bytes(made, rng)
    return gzip.compress(made, 1) if packed and inner is not whole else made


def _changed_bytes(whole: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(whole) + 1)
    end = min(len(whole), start + rng.choice((0, 1, 1, 4, 30)))
    match rng.randrange(7):
        case 0:
            return whole[:start]
        case 1:
            return whole[:start] + bytes([rng.randrange(256)]) + whole[start + 1 :]
        case 2:
            return whole[:start] + whole[end:]
        case 3:
            return whole[:end] + whole[start:]
        case 4:
            return whole[:start] + rng.randbytes(rng.randrange(1, 9)) + whole[end:]
        case _:
            return whole[:start] + rng.choice(ODD) + whole[end:]


def _changed_json(whole: bytes, rng: random.Random) -> bytes:
    try:
        text = whole.decode()
        lines = [text] if text[:1] in "[{" and text.count("\n{") == 0 else text.splitlines()
        at = rng.randrange(len(lines))
        value = json.loads(lines[at])
    except (ValueError, IndexError):
        return whole
    places = list(_places(value))
    place = rng.choice(places)
    lines[at] = json.dumps(_with(value, place, rng))
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for key, of_key in inner:
        yield from _places(of_key, (*place, key))


def _with(value: Any, place: tuple[Any, ...], rng: random.Random) -> Any:
    new = copy.deepcopy(rng.choice(VALUES))
    if not place:
        return new
    node = value
    for key in place[:-1]:
        node = node[key]
    match rng.randrange(4):
        case 0:
            del node[place[-1]]
        case 1 if isinstance(node, dict):
            node[str(new)[:50]] = node.pop(place[-1])
        case 2 if isinstance(node, list):
            node.append(new)
        case _:
            node[place[-1]] = new
    return value


@contextmanager
def _silent() -> Iterator[None]:
    kept = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = io.StringIO()
    try:
        yield
    finally:
        sys.stdout, sys.stderr = kept


ROWS = [
    {
        "text": f"text {row}, the {'first' if row % 2 else 'second'}",
        "label": f"label_{row % 3}",
        "group": f"g{row % 3 // 2}",
    }
    | {"label_text": f"what {row % 3} is", "id": row, "turns": [{"speaker": "agent", "text": f"hello {row}"}, "U: hi"]}
    for row in range(12)
]
"""A small table."""


def targets() -> dict[str, Target]:
    """Return everything that reads files, by name."""
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    columns = ("text", "label", "group", "label_text", "id")
    flat = [{name: row[name] for name in columns} for row in ROWS]

    def separated(mark: str) -> bytes:
        quoted = (lambda text: f'"{text}"') if mark == "," else str
        header = mark.join(columns)
        return "\n".join(
            [header, *(mark.join(quoted(str(row[name])) for name in columns) for row in flat), ""]
        ).encode()

    table = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(flat), table)
    found = {
        "csv": Target({"train.csv": separated(",")}, ("train.csv",), _corpus("train.csv", group="group"), 16),
        "csv.gz": Target({"t.csv.gz": gzip.compress(separated(","), mtime=0)}, ("t.csv.gz",), _corpus("t.csv.gz")),
        "csv without quotes": Target(
            {"train.csv": separated(",")}, ("train.csv",), _corpus("train.csv", quoting="none", empty_text="drop"), 4
        ),
        "tsv": Target(
            {"train.tsv": separated("\t")}, ("train.tsv",), _corpus("train.tsv", label_text="label_text"), 12
        ),
        "json lines": Target(
            {"train.jsonl": lines}, ("train.jsonl",), _corpus("train.jsonl", group="group", turns="turns"), 16
        ),
        "json": Target(
            {"train.json": json.dumps(ROWS).encode()},
            ("train.json",),
            _corpus("train.json", label_text="label_text"),
            12,
        ),
        "parquet": Target({"train.parquet": table.getvalue()}, ("train.parquet",), _corpus("train.parquet"), 12),
        "saved dataset": Target(
            _saved_dataset(flat), ("state.json", "dataset_info.json", "data.arrow"), _corpus("."), 10
        ),
        "cmcc": Target(
            {"train.txt": "a\t咨询\t业务规定\n客服\t您好\n客户\t你好\n\nb\t办理\t取消\n客服\t您好\n".encode() * 3},
            ("train.txt",),
            _corpus("train.txt", reader="cmcc34", turns="turns", agent="客服", customer="客户"),
        ),
        "label texts, yaml": Target(
            {"train.csv": separated(","), "l.yaml": b"label_0: what it is\nlabel_1: 'more of it'\n"},
            ("l.yaml",),
            _corpus("train.csv", label_texts="l.yaml"),
        ),
        "label texts, json": Target(
            {"train.csv": separated(","), "l.json": b'{"label_0": "what it is", "label_1": "more of it"}'},
            ("l.json",),
            _corpus("train.csv", label_texts="l.json"),
        ),
        "unlabelled": Target(
            {"train.csv": separated(","), "u.jsonl": lines},
            ("u.jsonl",),
            _corpus("train.csv", unlabelled="u.jsonl", leaderboard="predict.json"),
        ),
    }
    run = run_files()
    sweep = {f"m/d/x/seed0/{name}": whole for name, whole in run.items()} | {
        "sweeps/s/runs.jsonl": "".join(
            json.dumps(
                {"job": n, "dataset": "d", "model": "m", "configuration": "x", "seed": n, "folder": f"m/d/x/seed{n}"}
                | {"overrides": [f"seed={n}"], "status": "finished", "error": None}
            )
            + "\n"
            for n in range(2)
        ).encode()
    }
    of_run = ("results.json", "predictions.jsonl", "labels.json", "config.json", "suspect_labels.jsonl")
    found |= {
        "a run": Target(run, of_run, _report_without_figures, 20),
        "what hydra noted": Target(
            run, (".hydra/overrides.yaml", ".hydra/hydra.yaml", ".hydra/config.yaml"), _report_without_figures, 5
        ),
        "results": Target({"results.json": run["results.json"]}, ("results.json",), _results, 20),
        "a sweep": Target(sweep, ("sweeps/s/runs.jsonl",), _sweep, 12),
        "scores": Target(
            {name: run[name] for name in ("results.json", "scores.safetensors")},
            ("scores.safetensors", "results.json"),
            _replay,
            8,
        ),
        "a report": Target(run, of_run, write, 0),
    }
    return found


def _corpus(train: str, **keys: Any) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        files = {
            key: str(folder / value) if key in ("label_texts", "unlabelled") else value for key, value in keys.items()
        }
        config = DatasetConfig(train=str(folder / train), carve_test=True, **files)
        return load_corpus(config, None).fingerprint()

    return read


def _saved_dataset(rows: Sequence[dict[str, Any]]) -> dict[str, bytes]:
    table = pa.Table.from_pylist(list(rows))
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    info = {"features": {"label": {"_type": "Value", "dtype": "string"}}}
    state = {"_data_files": [{"filename": "data.arrow"}], "_indices_data_files": None}
    return {
        "data.arrow": sink.getvalue(),
        "state.json": json.dumps(state).encode(),
        "dataset_info.json": json.dumps(info).encode(),
    }


def run_files() -> dict[str, bytes]:
    """Return what a finished run leaves, by name."""
    labels = ["card", "cash", "loan"]
    accuracies = {"accuracy": 0.5, "accuracy_hard": 0.25, "accuracy_easy": 0.75}
    worth = {"gain": 0.25, "gain_low": 0.1, "gain_high": 0.4, "p_value": 0.04}
    worth |= {"only_origin_correct": 0, "only_rerank_correct": 1}
    beside = {**accuracies, "hard_fraction": 0.5, "views": ["lexical"], "pays": True, "significance": worth}
    told = {
        **{"status": "finished", "dataset": "d", "model": "m", "seed": 0, "k": 3, "power": 1.0, "classes": 3},
        **{
            "embedding": "minilm",
            "embedding_finetuned": True,
            "negatives": "all",
            "n_train": 8,
            "n_val": 4,
            "n_test": 4,
        },
        **{
            "n_hard": 2,
            "hard_fraction": 0.5,
            "sigma2_mis": 0.3,
            "significance": worth,
            "data": "0123",
            "commit": "ab+",
        },
        **dict.fromkeys(("origin", "rerank", "similarity"), accuracies),
        **{"fitted": beside, "control": beside, "verdict": {"deployed": "rerank", "reason": "it pays"}},
        **{"validation": {"hard_fraction": 0.5, "origin": accuracies, "rerank": accuracies}, "folds": 2},
        **{"on_hard": {"action": "rerank"}, "versions": {"lrsl": "0.2.0"}, "precision": "32-true", "machine": "CPU"},
    }
    lines = []
    for row in range(4):
        gold, other = labels[row % 3], labels[(row + 1) % 3]
        best = [[gold, 0.5], [other, 0.3], [labels[(row + 2) % 3], 0.2]]
        line = {
            "id": f"test-{row}",
            "text": f"a text {row}",
            "gold": gold,
            "origin": other,
            "rerank": gold,
            "hard": row > 0,
        }
        line |= {"similarity": gold, "fitted": gold, "control": other, "deployed": gold, "hardness": 0.1 * row}
        line |= {"beside": {"fitted": {"hard": True, "hardness": 0.1, "if_hard": gold}}}
        line |= {"top_k_before": best, "top_k_after": best, "gold_rank_before": 2, "gold_rank_after": 1}
        lines.append(json.dumps(line))
    square = [[1.0, 0.2, 0.3], [0.2, 1.0, 0.4], [0.3, 0.4, 1.0]]
    of_labels = {
        "labels": labels,
        "texts": labels,
        "groups": None,
        "similarity_before": square,
        "similarity_after": square,
    }
    of_labels |= {"counts": {split: [3, 3, 2] for split in ("train", "val", "test")}}
    suspect = {"id": "train-1", "text": "a text", "given": "card", "likelier": "cash", "views": ["lexical"]}
    suspect |= {"probability_given": 0.1, "probability_likelier": 0.8}
    config = {"dataset": {"name": "d", "source": "x"}, "model": {"name": "m", "lr": 1e-4, "architecture": "encoder"}}
    config |= {"embedding": {"name": "minilm", "finetune": True, "negatives": "all"}, "reranker": {"k": 3}, "seed": 0}
    hydra = {"hydra": {"runtime": {"cwd": "/x", "config_sources": [{"path": "/x/own", "provider": "command-line"}]}}}
    generator = torch.Generator().manual_seed(0)
    scores = {f"{split}.logits": torch.randn(8, 3, generator=generator) for split in ("val", "test")}
    scores |= {f"{split}.labels": torch.arange(8) % 3 for split in ("val", "test")}
    scores |= {f"{split}.view.lexical": torch.rand(8, 3, generator=generator).half() for split in ("val", "test")}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scores"
        save_file(scores, path, metadata={"lexical": json.dumps({"_target_": "lrsl.Lexical"})})
        kept = path.read_bytes()
    return {
        "results.json": json.dumps(told, indent=2).encode(),
        "predictions.jsonl": "\n".join([*lines, ""]).encode(),
        "labels.json": json.dumps(of_labels).encode(),
        "suspect_labels.jsonl": (json.dumps(suspect) + "\n").encode(),
        "config.json": json.dumps(config).encode(),
        "scores.safetensors": kept,
        ".hydra/overrides.yaml": yaml.safe_dump(["dataset=d", "model=m", "seed=0"]).encode(),
        ".hydra/hydra.yaml": yaml.safe_dump(hydra).encode(),
        ".hydra/config.yaml": yaml.safe_dump(config).encode(),
    }


def _report_without_figures(folder: Path) -> None:
    """Do what a report does, short of drawing."""
    found = jobs.jobs_of(folder)
    of = configurations([job.run for job in found if job.run is not None])
    content.verdict(of)
    for table in (content.results_table, content.beside_table, content.seeds_table, content.labels_table):
        table(of)
    content.pairs_table(of)
    suspects_table(of)
    telling(of)
    described(of)
    reproduction(found, of)
    collect.write([job.run for job in found if job.run is not None], io.StringIO())


def _results(folder: Path) -> None:
    """Do what shows results and sums them up."""
    line = {
        "dataset": "d",
        "model": "m",
        "configuration": "x",
        "seed": 0,
        "folder": str(folder),
        "overrides": ["seed=0"],
    }
    summaries = summary.summarise([{**line, "status": "finished"}])
    summary.show(summaries, Console(file=io.StringIO(), width=200))
    summary.save(summaries, folder)
    known = results.read(folder)
    if known is not None and known["status"] == "finished" and {"n_hard", "significance", "fitted"} <= known.keys():
        results.show(known, Console(file=io.StringIO(), width=200))


def _sweep(folder: Path) -> None:
    found = jobs.jobs_of(folder / "sweeps" / "s")
    jobs.commands(found)


def _replay(folder: Path) -> None:
    runs = replay._runs([folder])
    for (_, _, _), of in runs.items():
        for path, told in of:
            scored.read(path)
            for rule in replay._rules([{"name": "a", "views": ["lexical"]}], int(told["k"])):
                replay.replay(path, rule)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz, print what became of the inputs, and return whether any failed."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=360.0)
    parser.add_argument("--only", action="append", default=[], help="what reads them, such as csv")
    parser.add_argument("--out", type=Path, default=None, help="where inputs that fail are kept")
    given = parser.parse_args(arguments)
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
    counted = fuzz(given.inputs, seed=given.seed, out=given.out, seconds=given.seconds, only=given.only)
    print(counted)
    return int(counted.failed.total() > 0)


if __name__ == "__main__":
    sys.exit(main())
