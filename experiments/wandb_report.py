"""Make a W&B project's comparison report and a workspace of the same panels, from the runs that are there.

python -m experiments.wandb_report --project lrsl

Needs a W&B key and `pip install 'lrsl[wandb-report]'`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lrsl.config.schema import LoggerConfig

if TYPE_CHECKING:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

TITLE = "LRSL: hard samples before and after reranking"
RUNS = "JobType != 'summary'"
SUMMARIES = "JobType = 'summary'"
GROUPED = ["config.dataset.name", "config.model.name"]
FIGURES = [
    "figures/figure4-marginal-effect",
    "figures/figure1b-topk-accuracy",
    "figures/figure5-top-logits",
    "figures/figure9-label-distance",
]

_INTRODUCTION = (
    "Accuracies are fractions. *origin* is the classifier's answer, *rerank* the answer with hard samples reranked, "
    "*similarity* that of the text embedding alone. Runs are grouped by data set and model; seeds are averaged. "
    "Options are chosen by `val/…`; `test/…` chooses nothing."
)


def accuracy_panels() -> list[Any]:
    """Return the panels that compare accuracies on test, a bar per group of runs."""
    import wandb_workspaces.reports.v2 as wr  # noqa: PLC0415  (an extra)

    def bars(title: str, *metrics: str, x: int, y: int) -> wr.BarPlot:
        return wr.BarPlot(
            title=title,
            metrics=[wr.SummaryMetric(metric) for metric in metrics],
            groupby="Group",
            groupby_aggfunc="mean",
            groupby_rangefunc="stddev",
            layout=wr.Layout(x=x, y=y, w=12, h=8),
        )

    everything = [f"test/{system}_acc" for system in ("origin", "rerank", "fitted", "similarity")]
    hard = [f"test/{system}_acc_hard" for system in ("origin", "rerank", "fitted")]
    return [
        bars("Accuracy on test", *everything, x=0, y=0),
        bars("Accuracy on the hard samples of test", *hard, x=12, y=0),
        bars("What reranking gains on test", "test/gain", "test/fitted_gain", "test/control_gain", x=0, y=8),
        wr.ScatterPlot(
            title="Gain against the share of hard samples",
            x=wr.SummaryMetric("test/hard_fraction"),
            y=wr.SummaryMetric("test/gain"),
            layout=wr.Layout(x=12, y=8, w=12, h=8),
        ),
    ]


def training_panels() -> list[Any]:
    """Return the panels that show how classifier and embedding were trained."""
    import wandb_workspaces.reports.v2 as wr  # noqa: PLC0415

    titles = {
        "val/acc": "Classifier: accuracy on validation",
        "embedding/val_acc": "Embedding: accuracy on validation",
        "val/sigma2_mis": "Threshold of hard samples, σ²_mis",
    }
    return [
        wr.LinePlot(title=title, x="trainer/global_step", y=[metric], layout=wr.Layout(x=8 * place, w=8, h=7))
        for place, (metric, title) in enumerate(titles.items())
    ]


def figure_panels() -> list[Any]:
    """Return the panel of the runs' figures."""
    import wandb_workspaces.reports.v2 as wr  # noqa: PLC0415

    return [wr.MediaBrowser(title="Figures", num_columns=2, media_keys=FIGURES, layout=wr.Layout(w=24, h=16))]


def report(entity: str, project: str) -> wr.Report:
    """Return the report of a project, not saved yet."""
    import wandb_workspaces.reports.v2 as wr  # noqa: PLC0415

    def runs(**settings: Any) -> wr.Runset:
        return wr.Runset(name="runs", filters=RUNS, groupby=GROUPED, **settings)

    columns = ["summary:test/origin_acc", "summary:test/rerank_acc", "summary:test/gain", "summary:val/rerank_acc"]
    wide = wr.Layout(w=24, h=12)
    return wr.Report(
        entity=entity,
        project=project,
        title=TITLE,
        description="Made by python -m experiments.wandb_report.",
        width="fluid",
        blocks=[
            wr.MarkdownBlock(_INTRODUCTION),
            wr.TableOfContents(),
            wr.H1("Accuracy"),
            wr.PanelGrid(runsets=[runs(pinned_columns=columns)], panels=accuracy_panels()),
            wr.H1("Sweeps: mean and standard deviation over seeds"),
            wr.PanelGrid(
                runsets=[wr.Runset(name="summaries", filters=SUMMARIES)],
                panels=[wr.WeavePanelSummaryTable(table_name="sweep_summary", layout=wide)],
            ),
            wr.H1("Hard samples"),
            wr.PanelGrid(
                runsets=[wr.Runset(name="runs", filters=RUNS)],
                panels=[wr.WeavePanelSummaryTable(table_name="hard_samples", layout=wide), *figure_panels()],
            ),
            wr.H1("Training"),
            wr.PanelGrid(runsets=[runs()], panels=training_panels()),
        ],
    )


def workspace(entity: str, project: str) -> ws.Workspace:
    """Return a workspace of the same panels, not saved yet."""
    import wandb_workspaces.workspaces as ws  # noqa: PLC0415

    return ws.Workspace(
        entity=entity,
        project=project,
        name="LRSL",
        sections=[
            ws.Section(name="Accuracy", panels=accuracy_panels(), is_open=True),
            ws.Section(name="Figures", panels=figure_panels(), is_open=True),
            ws.Section(name="Training", panels=training_panels()),
        ],
        runset_settings=ws.RunsetSettings(filters=RUNS, groupby=[ws.Config("dataset.name"), ws.Config("model.name")]),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Make both, print where they are, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.wandb_report",
        description="Make a W&B project's comparison report, and a workspace of the same panels.",
    )
    parser.add_argument("--project", default=LoggerConfig().project, help="default: %(default)s")
    parser.add_argument("--entity", help="default: that of the key")
    given = parser.parse_args(arguments)
    try:
        import wandb_workspaces  # noqa: F401, PLC0415
    except ModuleNotFoundError:
        return _refuse(
            "The report is made by a package that is not installed; pip install 'lrsl[wandb-report]' adds it."
        )
    import wandb  # noqa: PLC0415

    try:
        known = wandb.login(prompt=False, verify=False)
    except wandb.Error:
        known = False
    if not known:
        return _refuse("W&B takes a report from those it knows, and there is no valid API key; wandb login stores one.")
    try:
        entity = given.entity or wandb.Api().default_entity or ""
        print(f"report: {report(entity, given.project).save().url}")
        print(f"workspace: {workspace(entity, given.project).save().url}")
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return _refuse(f"W&B did not take the report of {given.project}: {reason[:300]}")
    return 0


def _refuse(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
