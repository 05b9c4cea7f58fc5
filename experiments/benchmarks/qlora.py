"""QLoRA training at full size, ours against a plain script of transformers and PEFT: peak memory and tokens per second.

Needs a GPU, and about 16 GB of disk for random weights, which serve since neither memory nor speed depends on their
values. Each shape is measured in a process of its own, and every result is written down as it comes.

python -m experiments.benchmarks.qlora --out qlora.json
python -m experiments.benchmarks.qlora --shape mistral-7b
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lrsl import files

SHAPES = ("mistral-7b", "llama-2-7b")
SYSTEMS = ("ours", "peer")
LENGTHS = ("full", "dialogues")
POSITIONS = 4096  # of Llama 2, which has the fewest
CARD = 24.0  # GiB of the paper's card
TARGET = 1.3
PEAK = "peak_reserved_gib"
RATIO = "ours_over_peer"
RANGES: Mapping[str, tuple[int, float]] = {
    "steps": (1, float("inf")),
    "tokens": (1, POSITIONS),
    "batch_size": (1, float("inf")),
}
"""Numbers that are asked for, with the least and the most they may be."""

Found = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for, print it as JSON, say which targets are missed, and return the exit status."""
    asked = _parser().parse_args(arguments)
    if reason := refusal(asked) or without_gpu():
        print(reason, file=sys.stderr)
        return 1
    try:
        with tempfile.TemporaryDirectory() as scratch:
            found = measured(asked, asked.out or Path(scratch) / "qlora.json")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print(json.dumps(found, indent=2))
    told = [f"{shape}: {sentence}" for shape, of_shape in found.items() for sentence in missed(of_shape)]
    print("\n".join(told or ["all targets are met"]), file=sys.stderr)
    return int(bool(told))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.qlora",
        description="Train 7 billion parameters with QLoRA on a GPU, ours and a plain script of transformers and PEFT, "
        "and compare tokens per second and peak memory.",
        epilog=f"The exit status is 0 where ours needs less than {CARD:.0f} GiB and is {TARGET} times as fast. "
        "Example: python -m experiments.benchmarks.qlora --shape mistral-7b --out mistral-7b.json",
    )
    parser.add_argument("--shape", choices=SHAPES, help="this one only; else both, one after the other")
    parser.add_argument(
        "--quantize", choices=("nf4", "none"), default="nf4", help="how frozen weights are held (%(default)s)"
    )
    parser.add_argument("--batch-size", type=int, default=8, help="texts of a step (%(default)s)")
    parser.add_argument("--tokens", type=int, default=512, help="tokens of the longest text (%(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="steps that are timed, after the first (%(default)s)")
    parser.add_argument("--out", type=Path, help="also write the results into this file, each as it comes")
    parser.add_argument("--folder", type=Path, help="where the random weights, 16 GB, go for a while")
    return parser


def refusal(asked: argparse.Namespace) -> str | None:
    """Return in a sentence what is wrong with the arguments; None where nothing is."""
    for name, (least, most) in RANGES.items():
        if not least <= getattr(asked, name) <= most:
            limits = f"at least {least}" if most == float("inf") else f"from {least} to {most}"
            return f"--{name.replace('_', '-')} {getattr(asked, name)} does not work; it must be {limits}"
    if asked.folder is not None and not asked.folder.is_dir():
        return f"--folder {asked.folder} does not exist; make it first"
    if asked.out is not None and asked.out.is_dir():
        return f"--out {asked.out} is a folder; name a file"
    if asked.out is not None and not asked.out.parent.is_dir():
        return f"--out {asked.out} is in a folder that does not exist; make {asked.out.parent} first"
    return None


def without_gpu() -> str | None:
    """Return in a sentence that there is no GPU; None where there is one."""
    import torch  # noqa: PLC0415  (seconds, which --help and refusals do without)

    if torch.cuda.is_available():
        return None
    return "this benchmark needs a GPU, and torch finds none here; run it on a machine with CUDA"


def measured(asked: argparse.Namespace, out: Path) -> dict[str, Found]:
    """Measure each shape in a process of its own, so that one that fails takes nothing along; return what was found.

    Args:
        asked: the arguments.
        out: the file in which every result is kept as it comes.
    """
    # with several GPUs the peer's trainer would share out every batch among them
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    options = {name: getattr(asked, name) for name in (*RANGES, "quantize")}
    shapes = [asked.shape] if asked.shape else SHAPES
    files.write(out, json.dumps({shape: {} for shape in shapes}))
    for shape in shapes:
        print(f"{shape}:", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            status = in_a_process(shape, Path(folder), out, options)
        found = _read(out)
        found[shape] |= judged(found[shape]) | ({"exit_status": status} if status else {})
        _write(out, found)
    return _read(out)


def in_a_process(shape: str, folder: Path, out: Path, options: Mapping[str, Any]) -> int:
    """Do `train` in a new process and return its exit status."""
    process = multiprocessing.get_context("spawn").Process(target=train, args=(shape, folder, out, options))
    process.start()
    process.join()
    return process.exitcode or 0


def train(shape: str, folder: Path, out: Path, options: Mapping[str, Any], device: str = "cuda") -> None:
    """Train both systems on one shape, and keep each result as it comes.

    Args:
        shape: one of `SHAPES`.
        folder: where its random weights go.
        out: the file of the results.
        options: what `compare` takes besides.
        device: where the trainings are computed.
    """
    from experiments.benchmarks import qlora_trainings  # noqa: PLC0415  (transformers, PEFT, bitsandbytes)

    qlora_trainings.write_shape(qlora_trainings.SHAPES[shape], folder, device)
    about = qlora_trainings.conditions(device)
    for compared in qlora_trainings.compare(folder, device, **options):
        _write(out, {**_read(out), shape: {**compared, **about}})


def judged(found: Mapping[str, Any]) -> dict[str, bool | None]:
    """Return whether the targets are met by what was found of a shape; None where it does not say."""
    ours = [found.get(lengths, {}).get("ours", {}) for lengths in LENGTHS]
    peaks = [of_lengths[PEAK] for of_lengths in ours if PEAK in of_lengths]
    fits = len(peaks) == len(LENGTHS) or None
    ratio = found.get("dialogues", {}).get(RATIO)
    return {
        "fits_the_papers_card": False if max(peaks, default=0.0) >= CARD else fits,
        "fast_enough": None if ratio is None else ratio >= TARGET,
    }


def missed(found: Mapping[str, Any]) -> list[str]:
    """Return in sentences which targets a shape has missed, and what could not be measured."""
    told = []
    for lengths in LENGTHS:
        for system in SYSTEMS:
            result = found.get(lengths, {}).get(system)
            if result is None or "failed" in result:
                reason = "was not measured" if result is None else f"failed ({result['failed']})"
                told.append(f"{system} {reason} on {lengths} texts")
    if "exit_status" in found:
        told.append(f"its process ended early, with status {found['exit_status']}")
    verdict = judged(found)
    if verdict["fits_the_papers_card"] is False:
        peak = max(found[lengths]["ours"].get(PEAK, 0.0) for lengths in LENGTHS if "ours" in found.get(lengths, {}))
        told.append(f"ours needs {peak:.2f} GiB, which is not under {CARD:.0f}")
    if verdict["fast_enough"] is False:
        told.append(f"ours is {found['dialogues'][RATIO]:.2f} times as fast as the peer, which is not {TARGET}")
    if verdict["fast_enough"] is None:
        told.append("the speeds cannot be compared")
    return told


def _read(path: Path) -> dict[str, Found]:
    found: dict[str, Found] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _write(path: Path, found: Mapping[str, Found]) -> None:
    files.write(path, json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
