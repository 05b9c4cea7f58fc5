"""What Lightning costs: our training against the same steps in a bare loop."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytorch_lightning as pl

from experiments.benchmarks.bare import bare, batches, classifier_module
from experiments.benchmarks.plan import Figure, Plan, Section, quotients
from experiments.benchmarks.turns import LightningSteps, Step, in_turns
from experiments.benchmarks.workload import Workload, absent, workload
from lrsl.training.trainer import build_trainer

ABOUT = """\
The same network, batches, optimiser, schedule, clipping and autocast, turn by turn on the very same batches: once in
the trainer of a run, without a logger, and once in a loop that does nothing else."""


def measure(plan: Plan) -> Section:
    """Return the time of a training step under Lightning over that of a bare one."""
    name = "classifier on banking77: a step under Lightning over a bare step"
    if (reason := absent("banking77")) is not None:
        return Section(ABOUT, [Figure(name, note=reason)])
    work = workload("banking77", plan.questions, plan.held_out)
    model = replace(work.config.model, epochs=plan.epochs or work.config.model.epochs)
    work = replace(work, config=replace(work.config, model=model))
    done = in_turns(
        {"lightning": lambda step: lightning(work, step), "bare": lambda step: loop(work, step)}, plan.block, plan.now
    )
    ratios = quotients(done["lightning"].seconds, done["bare"].seconds)
    return Section(ABOUT, [Figure(name, ratios, at_most=1.05)])


def lightning(work: Workload, step: Step) -> None:
    """Train as the stage of a run does."""
    module, config = classifier_module(work), work.config
    with tempfile.TemporaryDirectory() as folder:
        callbacks: list[pl.Callback] = [LightningSteps(step)]
        trainer = build_trainer(config.trainer, "", Path(folder), epochs=config.model.epochs, callbacks=callbacks)
        trainer.fit(module, batches(module, work))


def loop(work: Workload, step: Step) -> None:
    """Train in a bare loop."""
    training = bare(classifier_module(work), work)
    for _ in range(work.config.model.epochs):
        for batch in training.loader:
            training.step(batch)
            step()
