"""The README is executed: its commands are composed, its Python is run."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from experiments.runs import significance
from experiments.runs.collect import Run, collect
from lrsl.commands import replay
from lrsl.config import composition
from lrsl.config.schema import Config
from lrsl.metrics import mean_std
from lrsl.reranking.rule import recorded_scores
from lrsl.reranking.verdict import WORTH
from lrsl.run import scored

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results"
DETAILED = (RESULTS / "README.md").read_text(encoding="utf-8")
OF_TEN = DETAILED.partition("With ten samples per label")[2].partition("\n### ")[0]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def commands(start: str) -> list[str]:
    return [line for block in blocks("bash") for line in block.splitlines() if line.startswith(start)]


@pytest.mark.parametrize("command", commands("python run.py"))
def test_run_commands_compose(command: str) -> None:
    arguments = [argument for argument in shlex.split(command)[2:] if argument not in {"-m", "--help"}]
    parsed = OverridesParser.create().parse_overrides(arguments)
    first = [
        f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}"
        if override.is_sweep_override()
        else str(override.input_line)
        for override in parsed
    ]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        assert isinstance(composition.to_config(compose("config", first)), Config)
    assert any(override.is_sweep_override() for override in parsed) == ("-m" in command.split())


def test_there_are_commands() -> None:
    assert len(commands("python run.py")) >= 5


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m ([\w.]+)", README))))
def test_modules_are_commands(module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    for imported in (module, f"{module}.__main__"):
        monkeypatch.delitem(sys.modules, imported, raising=False)
    with pytest.raises(SystemExit) as end:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    assert not end.value.code
    assert f"python -m {module}" in capsys.readouterr().out


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:^|`)make ([a-z]+)", README, flags=re.MULTILINE))))
def test_make_targets_exist(target: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("link", re.findall(r"\]\((?!https?:)([^)#]+)\)", README))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def recorded(folder: str, **told: Any) -> list[dict[str, Any]]:
    """Return the recorded runs of which this is told, in the order of their seeds."""
    paths = (RESULTS / folder).rglob("results.json")
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    return sorted((run for run in runs if run.items() >= told.items()), key=lambda run: run["seed"])


def test_the_ablation_on_banking77_is_as_recorded() -> None:
    runs = recorded("banking77-minilm", negatives="all")
    assert [run["seed"] for run in runs] == [0, 1, 2, 3, 4]
    row = next(line for line in DETAILED.splitlines() if line.startswith("| fine-tuned, all labels as negatives"))
    for system in ("origin", "rerank", "similarity"):
        mean, std = mean_std([run[system]["accuracy"] for run in runs])
        assert f"{100 * mean:.2f} ± {100 * std:.2f}" in row
    mean, std = mean_std([run["significance"]["gain"] for run in runs])
    together = [run for run in collect([RESULTS / "banking77-minilm"]) if run.results["negatives"] == "all"]
    worth = significance.gain(together, "origin", "rerank")
    assert f"| {100 * mean:+.2f} ± {100 * std:.2f} | {worth.p_value:.3f} |" in row


def rows_are_recorded(runs: list[Run], sections: Sequence[str], systems: Sequence[str]) -> None:
    """Check the row of each system in each section: accuracy, its gain with interval, accuracy on hard samples."""
    for system in systems:
        whole, of_hard = (
            mean_std([run.results[system][part] for run in runs]) for part in ("accuracy", "accuracy_hard")
        )
        gains = mean_std([run.results[system]["accuracy"] - run.results["origin"]["accuracy"] for run in runs])
        worth = significance.gain(runs, "origin", system)
        assert worth.low is not None
        assert worth.high is not None
        for text in sections:
            row = next(
                line.replace("−", "-")
                for line in text.splitlines()
                if re.match(rf"\| {system}\b.*\| {100 * whole.mean:.2f}", line)
            )
            for figure in (whole, of_hard):
                spread = f" ± {100 * figure.std:.2f}" if len(runs) > 1 else ""
                assert f"| {100 * figure.mean:.2f}{spread} |" in row
            if system != "origin":
                assert f"{100 * gains.mean:+.2f}" in row
                assert f"{100 * worth.low:+.2f} to {100 * worth.high:+.2f}" in row


def test_the_figures_on_banking77_are_those_recorded() -> None:
    runs = collect([RESULTS / "banking77"])
    assert sorted(run.seed for run in runs) == [0, 1, 2, 3, 4]
    hard = mean_std([run.results["hard_fraction"] for run in runs])
    assert f"hard samples ({100 * hard.mean:.1f} %)" in README
    rows_are_recorded(runs, (README, DETAILED), ("origin", "rerank", "fitted", "control", "similarity"))
    assert all(run.results["verdict"]["deployed"] == "fitted" for run in runs)


@pytest.mark.parametrize(
    ("number", "pages", "spread"),
    [
        (
            3,
            (DETAILED.partition("With three samples per label")[2].partition("\n### ")[0],),
            "gains {:+.2f} to {:+.2f} points",
        ),
        (5, (README, DETAILED), "(`fitted` {:+.2f} to {:+.2f})"),
        (
            10,
            (DETAILED.partition("With ten samples per label")[2].partition("\n### ")[0],),
            "gains {:+.2f} to {:+.2f} points",
        ),
        (
            20,
            (DETAILED.partition("With twenty samples per label")[2].partition("\n### ")[0],),
            "gains {:+.2f} to {:+.2f} points",
        ),
    ],
)
def test_the_figures_on_few_samples_are_those_recorded(number: int, pages: tuple[str, ...], spread: str) -> None:
    runs = collect([RESULTS / f"banking77-{number}-per-class"])
    assert sorted(run.seed for run in runs) == [0, 1, 2, 3, 4]
    rows_are_recorded(runs, pages, ("origin", "rerank", "fitted", "control", "similarity"))
    hard = mean_std([run.results["hard_fraction"] for run in runs])
    if README in pages:
        assert f"hard samples ({100 * hard.mean:.1f} %)" in README
    of_fitted = mean_std([run.results["fitted"]["hard_fraction"] for run in runs])
    told = " ".join(pages[-1].split())
    assert (
        f"threshold calls {100 * hard.mean:.1f} ± {100 * hard.std:.1f} % of the test hard, that of the fitted rule "
        f"{100 * of_fitted.mean:.1f} ± {100 * of_fitted.std:.1f} %"
    ) in told
    gains = {
        system: [run.results[system]["accuracy"] - run.results["origin"]["accuracy"] for run in runs]
        for system in ("fitted", "control")
    }
    assert spread.format(100 * min(gains["fitted"]), 100 * max(gains["fitted"])) in told
    if number == 3:
        assert f"with three per label `fitted` gains {100 * mean_std(gains['fitted']).mean:.2f} points" in " ".join(
            README.split()
        )
    assert all(fitted > control for fitted, control in zip(gains["fitted"], gains["control"], strict=True))
    assert all(run.results["verdict"]["deployed"] == "fitted" for run in runs)


SEEDS = {
    "banking77-5-per-class-smollm2": 3,
    "banking77-5-per-class-smollm2-nf4": 3,
    "tsec3-50-per-class-smollm2": 3,
    "tsec3-50-per-class-smollm2-nf4": 3,
}


@pytest.mark.parametrize(
    ("folder", "title"),
    [
        ("iflytek119-fewclue-5-per-class", "With five per label where there are so many"),
        ("iflytek119-fewclue-10-per-class", "With ten per label where there are so many"),
        ("banking77-50-per-class", "With fifty samples per label"),
        ("banking77-5-per-class-smollm2", "### A small language model"),
        ("banking77-5-per-class-smollm2-nf4", "The same with NF4, as"),
        ("banking77-folds", "### Trained on validation, too"),
        ("tsec3-50-per-class-smollm2", "The same number for"),
        ("tsec3-50-per-class-smollm2-nf4", "And with NF4"),
        ("iflytek119-fewclue-aphan", "With `aphan`, one seed"),
    ],
)
def test_the_figures_of_a_few_seeds_are_those_recorded(folder: str, title: str) -> None:
    runs = sorted(collect([RESULTS / folder]), key=lambda run: run.seed)
    assert [run.seed for run in runs] == list(range(SEEDS.get(folder, 1)))
    section = re.split(r"\n##+ ", DETAILED.partition(title)[2])[0]
    systems = ["origin", "rerank", "fitted", "similarity", *(["control"] if runs[0].results.get("control") else [])]
    rows_are_recorded(runs, (section,), systems)
    assert all(run.results["verdict"]["deployed"] == "fitted" for run in runs)
    if folder.startswith("tsec3"):
        gains = [100 * (run.results["fitted"]["accuracy"] - run.results["origin"]["accuracy"]) for run in runs]
        assert "gains {:+.2f}, {:+.2f} and {:+.2f}".format(*gains) in section


@pytest.mark.parametrize(
    ("folder", "title", "draws", "rows"),
    [
        ("3-per-class", "With three calls per label", 3, (102, 68)),
        ("5-per-class", "With five calls per label", 3, (170, 94)),
        ("10-per-class", "With ten calls per label", 3, (264, 140)),
        ("full", "The full one", 3, (2000, 500)),
    ],
)
def test_the_figures_on_calls_are_those_recorded(folder: str, title: str, draws: int, rows: tuple[int, int]) -> None:
    runs = sorted(collect([RESULTS / f"telecom34-{folder}"]), key=lambda run: run.seed)
    section = re.split(r"\n\n(?:The full one|By an earlier|With [a-z]* calls)", DETAILED.partition(title)[2])[0]
    rows_are_recorded(runs, (section,), ("origin", "rerank", "fitted", "control", "similarity"))
    assert [(run.seed, run.results["n_train"], run.results["n_val"]) for run in runs] == [
        (seed, *rows) for seed in range(draws)
    ]
    gains = [100 * (run.results["fitted"]["accuracy"] - run.results["origin"]["accuracy"]) for run in runs]
    assert f"gains {min(gains):+.2f} to {max(gains):+.2f} points" in " ".join(section.split())
    assert all(run.results["verdict"]["deployed"] == "fitted" for run in runs)
    for rule, words in ((None, "calls {:.1f} ± {:.1f} %"), ("fitted", "fitted rule {:.1f} ± {:.1f} %")):
        hard = mean_std([(run.results[rule] if rule else run.results)["hard_fraction"] for run in runs])
        assert words.format(100 * hard.mean, 100 * hard.std) in " ".join(section.split())
    if folder == "full":
        worth = significance.gain(runs, "control", "fitted")
        assert worth.low is not None
        assert worth.high is not None
        more = mean_std([run.results["fitted"]["accuracy"] - run.results["control"]["accuracy"] for run in runs]).mean
        told = f"{100 * more:.2f} more than the control ({100 * worth.low:+.2f} to {100 * worth.high:+.2f})"
        assert told in " ".join(section.split())


def test_what_four_bits_lose_is_as_recorded() -> None:
    whole, four = (
        sorted(collect([RESULTS / f"banking77-5-per-class-smollm2{end}"]), key=lambda run: run.seed)
        for end in ("", "-nf4")
    )
    lost = {
        system: [
            100 * (after.results[system]["accuracy"] - before.results[system]["accuracy"])
            for before, after in zip(whole, four, strict=True)
        ]
        for system in ("origin", "rerank", "fitted")
    }
    told = " ".join(DETAILED.partition("The same with NF4, as")[2].partition("\n###")[0].split()).replace("−", "-")
    for system in ("origin", "rerank"):
        assert "{:+.2f}, {:+.2f} and {:+.2f}".format(*lost[system]) in told
    assert f"within {max(map(abs, lost['fitted'])):.2f} points in each draw" in told
    tweets = (collect([RESULTS / f"tsec3-50-per-class-smollm2{end}"]) for end in ("", "-nf4"))
    before, after = (
        [mean_std([100 * run.results[system]["accuracy"] for run in runs]).mean for system in ("origin", "fitted")]
        for runs in tweets
    )
    on_tweets = " ".join(DETAILED.partition("And with NF4, three draws")[2].partition("\n## ")[0].split())
    assert f"the classifier is {after[0] - before[0]:.2f} points better under four bits" in on_tweets
    assert f"and `fitted` {before[1] - after[1]:.2f} worse" in on_tweets
    minutes = [run.results["seconds"]["classifier"] / 60 for run in (*whole[1:], *four)]
    assert f"Training took {min(minutes):.0f} to {max(minutes):.0f} minutes" in told


@pytest.mark.parametrize(
    "folder",
    [
        *("banking77", *(f"banking77-{number}-per-class" for number in (3, 5, 10, 20))),
        *(
            "banking77-folds",
            "banking77-5-per-class-folds",
            "telecom34-small",
            "telecom34-5-per-class",
            "telecom34-full",
        ),
        *("tsec3-full", "tsec3-50-per-class", "iflytek119-fewclue", "iflytek119-fewclue-aphan"),
    ],
)
def test_replays_come_to_what_is_recorded(folder: str) -> None:
    """The recorded scores, by the rule of this version; without verdicts, which take most of the time of a replay.

    Scores of views are kept in half precision, and the weights that they are given move by some thousandths.
    """
    (named,) = replay._rules([], 3)
    for run in collect([RESULTS / folder]):
        kept, val, test = replay.kept_scores(run.folder, named)
        assert kept.alike is not None
        rule = named.rule.fit(
            kept.logits["val"],
            kept.labels["val"],
            [recorded_scores(score) for score in val],
            alike=kept.alike["val"],
        )
        answers = rule.rerank(kept.logits["test"], [recorded_scores(score) for score in test]).labels
        accuracy = (answers == kept.labels["test"]).double().mean().item()
        assert accuracy == pytest.approx(
            run.results["fitted"]["if_deployed"]["accuracy"], abs=max(0.001, 1.5 / len(answers))
        )
        weights = dict(zip(run.results["fitted"]["weights"], rule.fusion.beta.tolist(), strict=True))
        assert weights == pytest.approx(run.results["fitted"]["weights"], rel=0.05, abs=0.005)


def test_what_a_cross_encoder_brings_is_as_recorded() -> None:
    runs = sorted(collect([RESULTS / "banking77-5-per-class-cross-encoder"]), key=lambda run: run.seed)
    joint = [run.results["rules"]["joint"] for run in runs]
    weights = [rule["weights"]["cross_encoder"] for rule in joint]
    origin = [run.results["origin"]["accuracy"] for run in runs]
    fitted = [run.results["fitted"]["accuracy"] for run in runs]
    gains = [
        100 * mean_std([after - before for before, after in zip(origin, answers, strict=True)]).mean
        for answers in ([rule["accuracy"] for rule in joint], fitted)
    ]
    told = " ".join(DETAILED.split())
    assert (
        "its weight is {:.2f}, {:.2f} and {:.2f}, and the rule gains {:+.2f} in place of {:+.2f}".format(
            *weights, *gains
        )
        in told
    )
    once = {run.seed: run.results for run in collect([RESULTS / "banking77-5-per-class"])}
    for run in runs:  # trained anew, in another number format
        assert abs(run.results["fitted"]["accuracy"] - once[run.seed]["fitted"]["accuracy"]) < 0.02


def test_what_folds_bring_with_few_samples_is_as_recorded() -> None:
    folds = collect([RESULTS / "banking77-5-per-class-folds"])
    assert sorted(run.seed for run in folds) == [0, 1]
    section = re.split(r"\n##+ ", DETAILED.partition("### Few samples, all of them trained on")[2])[0]
    rows_are_recorded(folds, (section,), ("origin", "rerank", "fitted", "similarity"))
    assert all(run.results["verdict"]["deployed"] == "fitted" for run in folds)
    apart = [run for run in collect([RESULTS / "banking77-5-per-class"]) if run.seed < 2]
    (origin, more), (fitted, best) = (
        [100 * mean_std([run.results[system]["accuracy"] for run in runs]).mean for runs in (apart, folds)]
        for system in ("origin", "fitted")
    )
    helping, page = (
        " ".join((ROOT / f"docs/how-to/{name}.md").read_text(encoding="utf-8").split())
        for name in ("does-it-help", "out-of-fold")
    )
    assert f"have {origin:.2f} and, fitted, {fitted:.2f}" in " ".join(section.split())
    assert f"from {origin:.2f} % to {more:.2f} %, two draws, and `fitted` from {fitted:.2f} % to {best:.2f} %" in page
    own = [100 * run.results["fitted"]["accuracy"] for run in sorted(folds, key=lambda run: run.seed)]
    peers = [
        100 * json.loads(path.read_text())["systems"]["reranked_lr_out_of_fold"]["accuracy"]
        for path in sorted(RESULTS.glob("peers/banking77-923754a1/reranked_lr/seed[01].json"))
    ]
    assert "has {:.2f} % and {:.2f} % on the first two".format(*own) in helping
    assert "where it has {:.2f} % and {:.2f} %".format(*peers) in helping
    told = " ".join(DETAILED.split())
    assert "has {:.2f} and {:.2f} on the first two draws".format(*own) in told
    assert "where this has {:.2f} and {:.2f}".format(*peers) in told


def of_tools(folder: str) -> dict[str, list[float]]:
    """Return the accuracies of other tools, and of a run, in %, a number for each draw."""
    found: dict[str, list[float]] = {}
    for path in sorted(RESULTS.glob(f"peers/{folder}/*/seed?.json")):
        for name, told in json.loads(path.read_text(encoding="utf-8"))["systems"].items():
            found.setdefault(name, []).append(100 * told["accuracy"])
    return found


def test_what_a_regression_gains_is_as_recorded() -> None:
    gains = []
    for folder, labelled in (("banking77-923754a1", "README"), ("banking77-b0d43b45", None)):
        systems = of_tools(folder)
        before, after = (systems[name] for name in ("sentence_transformers_lr_refitted", "reranked_lr_out_of_fold"))
        gains += [second - first for first, second in zip(before, after, strict=True)]
        told = f"from {mean_std(before).mean:.2f} % to {mean_std(after).mean:.2f} %"
        assert told in (ROOT / "docs/how-to/scikit-learn.md").read_text(encoding="utf-8")
        if labelled:
            assert told in README
            held_out = mean_std(systems["reranked_lr"]).mean
            assert f"takes it to {held_out:.2f}." in DETAILED
    assert f"{min(gains):.2f} to {max(gains):.2f} points above the regression in each draw" in " ".join(
        DETAILED.split()
    )


def test_what_other_tools_have_of_all_rows_and_of_iflytek_is_as_recorded() -> None:
    found: dict[str, dict[str, float]] = {}
    for path in sorted(RESULTS.glob("peers/*/*/seed0.json")):
        one = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault(one["corpus"], {}).update(
            {name: 100 * told["accuracy"] for name, told in one.get("systems", {}).items()}
        )
    told, page = (
        " ".join(text.split())
        for text in (DETAILED, (ROOT / "docs/how-to/does-it-help.md").read_text(encoding="utf-8"))
    )
    lr, svm = "sentence_transformers_lr", "linear_svm"
    banking, tsec = found["dataset=banking77"], found["dataset=tsec3"]
    assert (
        f"regression has {banking[lr]:.2f}, trained on validation, too, {banking[lr + '_refitted']:.2f}, and the "
        f"support vector machine {banking[svm]:.2f} and {banking[svm + '_refitted']:.2f}"
    ) in told
    assert f"frozen vectors of MiniLM {tsec[lr]:.2f}, a linear support vector machine {tsec[svm]:.2f}" in told
    both = tsec["reranked_lr"], tsec[f"{lr}_refitted"], tsec["reranked_lr_out_of_fold"]
    assert (
        "to {:.2f}, and `lrsl.RerankedClassifier` from {:.2f}, trained on validation, too, to {:.2f}.".format(*both)
    ) in told
    assert f"around the regression `RerankedClassifier` has {both[2]:.2f} %" in page
    runs = {name: collect([RESULTS / name]) for name in ("banking77", "tsec3-full", "iflytek119-fewclue-5-per-class")}
    own = {name: 100 * mean_std([run.results["fitted"]["accuracy"] for run in of]).mean for name, of in runs.items()}
    refitted = f"{lr}_refitted", f"{svm}_refitted"
    reranked, ours = banking["reranked_lr_out_of_fold"], own["banking77"]
    assert (
        f"takes the regression to {banking['reranked_lr']:.2f}, and `lrsl.RerankedClassifier`, trained on validation, "
        f"too, to {reranked:.2f}: {reranked - banking[refitted[0]]:.2f} points above it"
    ) in told
    assert (
        "{origin:.2f} by its classifier, {rerank:.2f} by the paper's rule and {fitted:.2f} by".format(**banking) in told
    )
    assert (
        f"per text there, has {banking['setfit']:.2f}, and transformers' `Trainer` "
        f"{banking['transformers_trainer']:.2f}." in told
    )
    assert (
        f"it has {reranked:.2f} %, where the regression has {banking[refitted[0]]:.2f} %: as much as a run with "
        f"validation held out, which has {ours:.2f} % in five seeds"
    ) in page
    assert f"with all 10,003 from {banking[refitted[0]]:.2f} % to {reranked:.2f} %" in " ".join(README.split())
    assert (
        f"a run has {own['tsec3-full']:.2f} % with all rows, the regression, trained on both, "
        f"{tsec[refitted[0]]:.2f} % and the support vector machine {tsec[refitted[1]]:.2f} %"
    ) in page
    (iflytek,) = (systems for corpus, systems in found.items() if "iflytek119" in corpus and "max_length=64" in corpus)
    best = iflytek["reranked_lr_out_of_fold"]
    assert (
        f"{best:.2f} %, where the regression has {iflytek[refitted[0]]:.2f} %, and a run {iflytek['fitted']:.2f} %, or "
        f"{own['iflytek119-fewclue-5-per-class']:.2f} % after fewer epochs"
    ) in page
    assert (
        f"has {iflytek[lr]:.2f}, `lrsl.Reranker` takes it to {iflytek['reranked_lr']:.2f}; trained on validation, too, "
        f"it has {iflytek[refitted[0]]:.2f}, and `lrsl.RerankedClassifier` takes it to {best:.2f}"
    ) in told
    assert (
        "{origin:.2f} by its classifier, {rerank:.2f} by the paper's rule and {fitted:.2f} by".format(**iflytek) in told
    )
    (longer,) = (systems for corpus, systems in found.items() if "iflytek119" in corpus and "max_length=128" in corpus)
    assert (
        f"has {longer[lr]:.2f} in place of {iflytek[lr]:.2f}, and trained on validation, too, "
        f"{longer[refitted[0]]:.2f} in place of {iflytek[refitted[0]]:.2f}"
    ) in told


def test_the_table_of_tools_is_as_recorded() -> None:
    folders = ["banking77-923754a1", "banking77-b0d43b45", "banking77-34351f48"]
    folders += ["tsec3-925fbc5c", "tsec3-7531ef6a", "tsec3-ede1ac72", "iflytek119-313c8514"]
    columns: list[dict[str, float]] = [{} for _ in folders]
    for column, folder in zip(columns, folders, strict=True):
        for path in sorted(RESULTS.glob(f"peers/{folder}/*/seed0.json")):
            systems = json.loads(path.read_text(encoding="utf-8"))["systems"]
            column.update({name: told["accuracy"] for name, told in systems.items()})
    run = json.loads((RESULTS / "tsec3-full/seed0/results.json").read_text(encoding="utf-8"))
    columns[5].update({name: run[name]["accuracy"] for name in ("origin", "rerank", "fitted")})
    page = (ROOT / "docs/how-to/does-it-help.md").read_text(encoding="utf-8")
    _, _, *rows = page[page.index("| | Banking-77, 5 |") :].partition("\n\n")[0].splitlines()
    shown = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    systems = [
        *("reranked_lr_out_of_fold", "sentence_transformers_lr_refitted", "fitted", "reranked_lr", "autointent"),
        *("sentence_transformers_lr", "rerank", "origin", "linear_svm_refitted", "setfit", "transformers_trainer"),
        "linear_svm",
    ]
    assert set().union(*columns) == set(systems)
    for system, (_, *cells) in zip(systems, shown, strict=True):
        for column, cell in zip(columns, cells, strict=True):
            told = f"{100 * column[system]:.2f}" if system in column else "–"
            best = system in column and column[system] == max(column.values())
            assert cell == (f"**{told}**" if best else told), (system, cell)


def test_what_other_tools_have_of_few_tweets_is_as_recorded() -> None:
    five, ten = (of_tools(folder) for folder in ("tsec3-925fbc5c", "tsec3-7531ef6a"))
    assert {len(draws) for found in (five, ten) for name, draws in found.items() if name != "autointent"} == {3}
    table = DETAILED.partition("Other tools on the same three draws, with five")[2].partition("\n\nWith ten SetFit")[0]
    rows = {
        "SetFit": "setfit",
        "frozen MiniLM, `LogisticRegression`": "sentence_transformers_lr_refitted",
        "a run, the paper's rule": "rerank",
        "TF-IDF, `LinearSVC`": "linear_svm_refitted",
        "a run, its classifier and `fitted`": "origin",
        "transformers' `Trainer`": "transformers_trainer",
    }
    for what, system in rows.items():
        means = [mean_std(found[system]) for found in (five, ten)]
        cells = " | ".join(f"{mean.mean:.2f} ± {mean.std:.2f}" for mean in means)
        assert re.search(rf"^\| {re.escape(what)} \| .* \| {re.escape(cells)} \|$", table, re.MULTILINE), what
    for found in (five, ten):
        assert found["reranked_lr_out_of_fold"] == found["sentence_transformers_lr_refitted"]
        assert found["fitted"] == found["origin"]
    told = " ".join(DETAILED.split())
    assert "AutoIntent has {:.2f} with five and {:.2f} with ten".format(*five["autointent"], *ten["autointent"]) in told
    frozen = mean_std(ten["sentence_transformers_lr_refitted"])
    page = (ROOT / "docs/how-to/does-it-help.md").read_text(encoding="utf-8")
    apart, folds = (collect([RESULTS / f"tsec3-10-per-class{end}"]) for end in ("", "-folds"))
    own = [
        100 * mean_std([run.results[system]["accuracy"] for run in runs]).mean
        for runs, system in ((apart, "fitted"), (apart, "rerank"), (folds, "rerank"))
    ]
    assert f"the regression has {frozen.mean:.2f} %" in page
    assert all(f"{accuracy:.2f} %" in page for accuracy in own)
    assert f"has more, {own[2]:.2f}." in told
    best = [mean_std(found[name]).mean for found, name in ((ten, "setfit"), (five, "rerank"), (five, "setfit"))]
    assert f"SetFit is the best of them, {best[0]:.2f} %" in page
    assert "by the paper's rule has {:.2f} %, SetFit {:.2f} %".format(*best[1:]) in " ".join(page.split())


def test_what_folds_bring_is_as_recorded() -> None:
    (apart,), (folds,) = (
        [run for run in collect([RESULTS / name]) if run.seed == 0] for name in ("banking77", "banking77-folds")
    )
    told = " ".join(DETAILED.split())
    of_apart, of_folds = (
        [100 * run.results[system]["accuracy"] for system in ("origin", "fitted")] for run in (apart, folds)
    )
    assert "held out has {:.2f} and, fitted, {:.2f}".format(*of_apart) in told
    more = [after - before for before, after in zip(of_apart, of_folds, strict=True)]
    assert "bring the classifier {:.2f} points and what is reranked {:.2f}".format(*more) in told
    promised = folds.results["verdict"]["fitted"]
    assert f"promised {100 * promised['gain']:+.2f} (at least {100 * promised['gain_low']:+.2f})" in told
    page = " ".join((ROOT / "docs/how-to/out-of-fold.md").read_text(encoding="utf-8").split())
    assert f"from {of_apart[0]:.2f} % to {of_folds[0]:.2f} %" in page
    assert f"from {of_apart[1]:.2f} % to {of_folds[1]:.2f} %" in page


def test_the_figures_on_tsec_are_those_recorded() -> None:
    section = DETAILED.partition("## TSEC")[2].partition("\n## ")[0]
    many, few = (collect([RESULTS / f"tsec3-{number}-per-class"]) for number in (1000, 50))
    of_few = section.partition("With 50 per label")[2].partition("The same number for")[0]
    for runs, part in ((many, section), (few, of_few)):
        rows_are_recorded(runs, (part,), ("origin", "rerank", "fitted", "control", "similarity"))
    few = sorted(few, key=lambda run: run.seed)
    assert [run.results["verdict"]["deployed"] for run in few] == ["fitted", "origin", "origin"]
    would = [
        100 * (run.results["fitted"]["if_deployed"]["accuracy"] - run.results["origin"]["accuracy"]) for run in few
    ]
    words = "gains {:+.2f}. In the others, with 150 held-out tweets, it is refused: it would have gained {:+.2f}, since"
    assert words.format(*would) in " ".join(of_few.split())
    assert f"earned a weight, and {would[2]:+.2f}" in " ".join(of_few.split())
    refused = [run.results["fitted"]["if_deployed"]["accuracy"] for run in many]
    lost = [run - origin.results["origin"]["accuracy"] for run, origin in zip(refused, many, strict=True)]
    told = " ".join(section.split()).replace("−", "-")
    for first, second, sign in ((*refused, ""), (*lost, "+")):
        assert f"{100 * first:{sign}.2f} and {100 * second:{sign}.2f}" in told
    nats = [run.results["verdict"]["fitted"]["likelihood_gain"] for run in many]
    assert f"beyond chance by {nats[0]:.3f} and {nats[1]:.3f} nats per hard tweet" in told
    assert all(run.results["verdict"]["fitted"]["likelihood_low"] > 0 for run in many)
    assert all(run.results["verdict"]["deployed"] == "origin" for run in many)


def test_the_figures_on_all_tweets_are_those_recorded() -> None:
    runs = sorted(collect([RESULTS / "tsec3-full"]), key=lambda run: run.seed)
    section = DETAILED.partition("## TSEC")[2].partition("By an earlier version")[0]
    rows_are_recorded(runs, (section,), ("origin", "rerank", "fitted", "similarity"))
    assert all(run.results["verdict"]["deployed"] == "fitted" for run in runs)
    gains = [100 * (run.results["fitted"]["accuracy"] - run.results["origin"]["accuracy"]) for run in runs]
    assert "gains {:+.2f}, {:+.2f} and {:+.2f}".format(*gains) in section
    said = [run.results["verdict"]["fitted"] for run in runs]
    assert [told["gain_low"] > 0 for told in said] == [False, True, False]  # which deployed it at any rate
    assert all(told["likelihood_gain"] < WORTH for told in said)
    assert [run.results["n_val"] for run in runs] == [5_496] * 3


def test_the_figures_on_a_few_tweets_in_folds_are_those_recorded() -> None:
    runs = sorted(collect([RESULTS / "tsec3-10-per-class-folds"]), key=lambda run: run.seed)
    assert [run.seed for run in runs] == [0, 1, 2]
    section = DETAILED.partition("Or holds none out:")[2].partition("\n\nWith 50")[0]
    rows_are_recorded(runs, (section,), ("origin", "rerank", "fitted", "similarity"))
    assert [run.results["verdict"]["deployed"] for run in runs] == ["fitted", "fitted", "origin"]
    gains = [100 * (run.results["fitted"]["accuracy"] - run.results["origin"]["accuracy"]) for run in runs]
    assert "gains {:+.2f}, {:+.2f} and {:+.2f}".format(*gains) in section
    refused = runs[2].results["fitted"]["if_deployed"]["accuracy"] - runs[2].results["origin"]["accuracy"]
    assert f"would have gained {100 * refused:+.2f}" in " ".join(section.split())


@pytest.mark.parametrize("number", [3, 5, 10, 20])
def test_the_figures_on_a_few_tweets_are_those_recorded(number: int) -> None:
    section = DETAILED.partition("## TSEC")[2].partition("\n## ")[0]
    of_number = re.split(r"\n\| \d+ \|", section.partition(f"| {number} | origin")[2])[0]
    rows = "| origin" + re.sub(r"\n\| \| ", "\n| ", of_number)
    runs = collect([RESULTS / f"tsec3-{number}-per-class"])
    assert [run.seed for run in runs] == [0, 1, 2]
    rows_are_recorded(runs, (rows,), ("origin", "rerank", "fitted", "similarity"))


def test_what_a_verdict_refuses_with_a_few_tweets_is_as_told() -> None:
    told = " ".join(DETAILED.partition("Nine to sixty held-out tweets")[2].partition("\n\n")[0].split())
    few = [run for number in (3, 5, 10, 20) for run in collect([RESULTS / f"tsec3-{number}-per-class"])]
    assert "refuses `fitted` in eleven of the twelve draws, and the paper's rule in eleven" in told
    for rule in ("fitted", "rerank"):
        assert [run.results["verdict"][rule]["deploy"] for run in few].count(False) == 11
    gains = [100 * (run.results["rerank"]["accuracy"] - run.results["origin"]["accuracy"]) for run in few]
    assert f"gained {min(gains):.1f} to {max(gains):.1f} points in each" in told


def test_the_samples_and_the_views_of_iflytek_are_those_recorded() -> None:
    runs = sorted(collect([RESULTS / "iflytek119-fewclue"]), key=lambda run: run.seed)
    assert [run.seed for run in runs] == [0, 1, 2]
    section = DETAILED.partition("## iFlyTek")[2].partition("\n## ")[0]
    told = " ".join(section.split())
    rows_are_recorded(runs, (section,), ("origin", "rerank", "fitted", "similarity"))
    for run in runs:
        assert f"{run.results['n_train']:,} to train on and {run.results['n_val']} for validation" in told
        assert run.results["verdict"]["deployed"] == "fitted"
    gains = [100 * (run.results["fitted"]["accuracy"] - run.results["origin"]["accuracy"]) for run in runs]
    assert "gains {:+.2f}, {:+.2f} and {:+.2f}".format(*gains) in told
    every = [scored.read(run.folder) for run in runs]
    alone = {
        view: 100
        * statistics.mean(
            (kept.views[view]["test"].argmax(-1) == kept.labels["test"]).double().mean().item() for kept in every
        )
        for view in ("label_similarity", "instances", "lexical", "linear_probe")
    }
    assert (
        f"(similarity {alone['label_similarity']:.1f}, nearest training texts {alone['instances']:.1f}, "
        f"words and characters {alone['lexical']:.1f}, a regression on the frozen encoder {alone['linear_probe']:.1f})"
    ) in told


def test_what_the_fitted_rule_reranks_is_as_recorded() -> None:
    shares = [
        100 * mean_std([run.results["fitted"]["hard_fraction"] for run in collect([RESULTS / name])]).mean
        for name in ("telecom34-small", "banking77-5-per-class", "banking77")
    ]
    assert "reranks {:.1f} %, {:.1f} % and {:.1f} % of the test".format(*shares) in " ".join(README.split())


def test_the_figures_on_telecom34_are_those_recorded() -> None:
    runs = collect([RESULTS / "telecom34-small"])
    assert sorted(run.seed for run in runs) == [0, 1, 2, 3, 4]
    hard = statistics.mean(run.results["hard_fraction"] for run in runs)
    assert f"hard samples ({100 * hard:.1f} %)" in README
    rows_are_recorded(runs, (README, DETAILED), ("origin", "rerank", "fitted", "control"))
    below = [run for run in runs if run.results["fitted"]["accuracy"] < run.results["origin"]["accuracy"]]
    lost = [round(400 * (run.results["origin"]["accuracy"] - run.results["fitted"]["accuracy"])) for run in below]
    assert sorted(lost) == [1, 2]
    assert all(run.results["verdict"]["deployed"] == "fitted" for run in runs)
    assert "In two of the five seeds `fitted` is up to half a point below origin" in " ".join(README.split())


def test_the_speeds_are_those_measured() -> None:
    found = json.loads((ROOT / "experiments" / "benchmarks" / "results.json").read_text(encoding="utf-8"))
    for section, said in (
        ("classifier", "a classifier trains {:.1f} times"),
        ("embedding", "the embedding {:.1f} times"),
    ):
        assert said.format(statistics.median(found[section]["figures"][0]["values"])) in README


def test_the_plug_in_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    label_texts = ["the card has not arrived", "the card is lost", "an exchange rate"]
    texts = ["where is my card", "my card was stolen", "euro to dollar", "still no card in the mail"]
    gold = np.array([0, 1, 2, 0])
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 3))
    names = {
        "label_texts": label_texts,
        "val_logits": logits,
        "val_labels": gold,
        "val_texts": texts,
        "train_texts": [f"{text}, please" for text in texts],
        "train_labels": gold,
        "train_logits": logits,
        "logits": logits,
        "texts": texts,
    }
    (example,) = blocks("python")
    exec(compile(example, "README.md", "exec"), names)
    assert names["labels"].shape == (4,)
    assert (tmp_path / "my-reranker" / "reranker.json").is_file()
