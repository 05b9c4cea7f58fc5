"""What a training step costs on a machine that others use too, by how its threads wait for each other."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from experiments.benchmarks.plan import Figure, Plan, Section, quotients
from experiments.benchmarks.workload import ROOT
from lrsl.nn import threads

NETWORK = "sentence-transformers/all-MiniLM-L6-v2"
ROWS, TOKENS = 32, 16
SECONDS = 3.0
ABOUT = """\
Training steps of all-MiniLM-L6-v2, {rows} × {tokens} tokens, in a process for each way to wait; each takes steps for
some seconds with the machine to itself, and then beside one process per core that does nothing but keep it busy,
before it is the next one's turn. Ours are the variables that `lrsl/nn/threads.py` sets before torch is loaded. Wall
time, since processor time would not count what a thread waits for a core. The machine has to be idle otherwise."""
SPIN = "while True: pass"


def measure(plan: Plan) -> Section:
    """Return the time of a step beside busy processes over its time alone, and ours alone over torch's alone."""
    here = {name: value for name, value in os.environ.items() if name not in (*threads.WAITING, *threads.NUMBER)}
    ways: dict[str, Mapping[str, str]] = {
        "ours": threads.variables(here, threads.cores(), threads.quota()),
        "torch's own": {},
        "no spin": {"OMP_WAIT_POLICY": "passive"},
        "one thread": {"OMP_NUM_THREADS": "1"},
    }
    alone: dict[str, list[float]] = {way: [] for way in ways}
    beside: dict[str, list[float]] = {way: [] for way in ways}
    with ExitStack() as stack:
        steps = {way: stack.enter_context(stepping({**here, **variables})) for way, variables in ways.items()}
        for _ in range(plan.repeats):
            for way, process in steps.items():
                alone[way].append(seconds(process))
                with busy():
                    beside[way].append(seconds(process))
    return Section(
        ABOUT.format(rows=ROWS, tokens=TOKENS),
        [
            Figure(
                "a step beside busy processes over one alone: ours",
                quotients(beside["ours"], alone["ours"]),
                at_most=2.2,
            ),
            *(Figure(f"the same: {way}", quotients(beside[way], alone[way])) for way in ways if way != "ours"),
            Figure("a step alone: ours over torch's own", quotients(alone["ours"], alone["torch's own"]), at_most=1.03),
            Figure("the same: no spin", quotients(alone["no spin"], alone["torch's own"])),
            Figure("the same: one thread", quotients(alone["one thread"], alone["torch's own"])),
            Figure("a step alone: ours", alone["ours"], unit="s"),
        ],
    )


@contextmanager
def stepping(environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Give a process that takes steps for a while for each line it is sent, and answers with the seconds of one."""
    command = [sys.executable, "-m", "experiments.benchmarks.busy", NETWORK, str(ROWS), str(TOKENS)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=dict(environment), **pipes) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def seconds(process: subprocess.Popen[str]) -> float:
    """Return how long a step takes now."""
    assert process.stdin is not None
    assert process.stdout is not None
    print(SECONDS, file=process.stdin, flush=True)
    return float(process.stdout.readline())


@contextmanager
def busy() -> Iterator[None]:
    """Keep every core busy for a while."""
    places = [f"import os; os.sched_setaffinity(0, {{{core}}})\n" for core in sorted(os.sched_getaffinity(0))]
    processes = [subprocess.Popen([sys.executable, "-c", place + SPIN]) for place in places]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def answer(network: str, rows: int, tokens: int) -> None:
    """Take steps of a network for as long as each line says, and print how long one took."""
    import torch  # noqa: PLC0415  (in the processes alone, each under variables of its own)

    from lrsl.nn.optimisation import adamw  # noqa: PLC0415
    from lrsl.nn.pretrained import adjust, load_encoder  # noqa: PLC0415

    torch.manual_seed(0)
    encoder = load_encoder(network).train()
    adjust(encoder, 0.0, "eager", "model")
    optimizer, _ = adamw([{"params": list(encoder.parameters()), "lr": 1e-5}], weight_decay=0.0, steps=1, warmup=0.0)
    ids = torch.randint(encoder.config.vocab_size, (rows, tokens))

    def step() -> None:
        encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    for line in sys.stdin:
        step()
        start, steps = time.perf_counter(), 0
        while time.perf_counter() - start < float(line):
            step()
            steps += 1
        print((time.perf_counter() - start) / steps, flush=True)


if __name__ == "__main__":
    answer(sys.argv[1], *map(int, sys.argv[2:]))
