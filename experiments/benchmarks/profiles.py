"""Where a training step spends its time, by phase and by operation, as torch.profiler sees it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch.profiler import ProfilerActivity, profile, record_function

from experiments.benchmarks.bare import PHASES, Bare
from experiments.benchmarks.plan import Table
from lrsl.nn.batches import Batch

KINDS = {
    "matrix products": ("mm", "addmm", "bmm", "baddbmm", "mkldnn_linear"),
    "attention": ("_scaled_dot_product", "_flash_attention", "_softmax"),
    "drawing dropout": ("native_dropout", "bernoulli"),
    "casts and copies": ("copy_",),
    "element by element": ("add", "mul", "div", "sub", "neg", "where", "masked_fill"),
    "sums": ("sum", "mean"),
    "layer norm": ("native_layer_norm",),
    "GELU": ("gelu",),
    "token embeddings": ("embedding", "index_select"),
    "AdamW": ("_fused_adamw",),
    "norm of the gradient": ("linalg_vector_norm", "_foreach"),
    "filling with zeros": ("zero_", "fill_"),
}
"""Kinds of operation, by how their names begin."""
WARM_UP = 3
STEPS = 20
TOP = 12


def profile_steps(about: str, training: Bare) -> list[Table]:
    """Take training steps and return where their time went: by phase, by kind of operation, and the costliest."""
    batches = _forever(training)
    for _ in range(WARM_UP):
        training.step(next(batches))
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(STEPS):
            with record_function("phase: batch"):
                batch = next(batches)
            running = training.phases(batch)
            for phase in PHASES:
                with record_function(f"phase: {phase}"):
                    next(running)
    events = profiler.key_averages()
    phases = {event.key.removeprefix("phase: "): event for event in events if event.key.startswith("phase: ")}
    total = sum(event.cpu_time_total for event in phases.values())
    operations = {
        event.key.removeprefix("aten::"): (event.self_cpu_time_total / total, event.count / STEPS)
        for event in events
        if event.key.startswith("aten::")
    }
    kinds: dict[str, tuple[float, float]] = {}
    for name, (share, calls) in operations.items():
        before = kinds.get(kind(name), (0.0, 0.0))
        kinds[kind(name)] = (before[0] + share, before[1] + calls)
    kinds["outside operations (Python, autograd)"] = (1 - sum(share for share, _ in kinds.values()), 0.0)
    title = f"{about}: where {STEPS} training steps spent their time"
    return [
        Table(
            f"{title}, by phase",
            ("phase", "share"),
            [(name, f"{phases[name].cpu_time_total / total:.1%}") for name in ("batch", *PHASES)],
        ),
        Table(f"{title}, by kind of operation", ("kind", "share", "calls per step"), _rows(kinds)),
        Table(f"{title}, by operation", ("operation", "share", "calls per step"), _rows(operations)[:TOP]),
    ]


def kind(operation: str) -> str:
    """Return the kind of an operation, `other` for one that is none of `KINDS`."""
    return next((kind for kind, starts in KINDS.items() if operation.startswith(starts)), "other")


def _rows(spent: Mapping[str, tuple[float, float]]) -> list[tuple[str, str, str]]:
    ordered = sorted(spent.items(), key=lambda item: -item[1][0])
    return [(name, f"{share:.1%}", f"{calls:,.0f}") for name, (share, calls) in ordered]


def _forever(training: Bare) -> Iterator[Batch]:
    while True:
        yield from training.loader
