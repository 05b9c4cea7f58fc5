"""Other rules on the logits and view scores that runs have left: fitted on validation, measured on test, no training.

lrsl replay multirun_outputs --rule '{name: words, views: [lexical]}'
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrsl.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console
    from rich.table import Table
    from torch import Tensor

    from lrsl.run.rescored import Rescored
    from lrsl.run.rules import NamedRule
    from lrsl.run.scored import Scored


@dataclass(frozen=True)
class Replayed:
    """What a rule makes of a run.

    Attributes:
        before: whether the classifier is right on each test sample, `(n,)` bool.
        after: whether the rule is, `(n,)` bool.
        hard: share of test samples that are hard.
        pays: whether validation says that it pays.
    """

    before: np.ndarray[Any, Any]
    after: np.ndarray[Any, Any]
    hard: float
    pays: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay rules, print a table and return the exit status."""
    given = _parser().parse_args(arguments)
    try:
        rules = [_parsed(text) for text in given.rule]
        if given.verdicts:
            _show_verdicts(given.folder, rules, given.verdicts, _anew(given.data_dir, given.pretrained))
        else:
            _show(given.folder, rules, _anew(given.data_dir, given.pretrained))
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lrsl replay",
        description="Fit rules on the validation scores that runs have left, and measure them on test. No network is "
        "trained. All rules that are tried are shown; choose by `pays`, which is of validation, not by the gain.",
        epilog="example: lrsl replay multirun_outputs --rule '{name: words, views: [lexical], detector: entropy}'",
    )
    parser.add_argument("folder", nargs="+", type=Path, help="folders of runs, or of folders of them")
    parser.add_argument(
        "--rule",
        action="append",
        default=[],
        metavar="YAML",
        help="a name and any of detector, threshold, views, fusion; what is not given is the fitted rule's. "
        "May be given several times; without it the fitted rule is replayed",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="FOLDER",
        help="where the data of the runs lie. Views that no run has asked, and that need nothing it has trained, such "
        "as lexical and linear_probe, are fitted on them now",
    )
    parser.add_argument(
        "--pretrained",
        metavar="FOLDER",
        help="where the text embedding of the runs lies as it was pretrained, if no longer where they say",
    )
    parser.add_argument(
        "--verdicts",
        type=_draws,
        metavar="N",
        help="show how far verdicts can be trusted instead: validation and test of each run are put together, and N "
        "times as many as validation had are drawn, by which to fit and judge; the rest tells what came of it",
    )
    return parser


def _anew(data_dir: Path | None, pretrained: str | None) -> Rescored | None:
    """Return what fits views on the data of runs, where these are given."""
    from lrsl.paths import is_folder  # noqa: PLC0415
    from lrsl.run.rescored import Rescored  # noqa: PLC0415

    if data_dir is None and pretrained is not None:
        raise InputError("--pretrained has no effect without --data-dir, the data on which views are fitted")
    if data_dir is not None and not is_folder(data_dir):
        raise InputError(f"--data-dir {data_dir} is no folder; name the one that holds the data of the runs")
    return None if data_dir is None else Rescored(data_dir, pretrained)


def _draws(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text} must be a number of draws, at least 1")


def _parsed(text: str) -> Any:
    import yaml  # noqa: PLC0415

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"--rule {text} is no YAML: {' '.join(str(error).split())}") from None


def _show(folders: Sequence[Path], rules: Sequence[Any], anew: Rescored | None) -> None:
    from rich.table import Table  # noqa: PLC0415

    from lrsl import metrics  # noqa: PLC0415
    from lrsl.screen import Screen, literal  # noqa: PLC0415

    table = Table(title="gain over origin on test, in points", title_justify="left")
    words = ("data set", "model", "rule")
    for heading in (*words, "train", "seeds", "origin", "rule's", "gain", "95 %", "p", "hard", "pays"):
        table.add_column(heading, justify="left" if heading in words else "right", overflow="fold")
    configurations = _runs(folders)
    for (dataset, model, of), runs in configurations.items():
        alike = [other for other in configurations if other[:2] == (dataset, model)]
        shown = f"{dataset} ({Path(of).name})" if len(alike) > 1 else dataset
        replayed: dict[str, list[Replayed]] = defaultdict(list)
        for folder, content in runs:
            for rule in _rules(rules, int(content["k"])):
                replayed[rule.name].append(replay(folder, rule, anew))
        for name, each in replayed.items():
            import numpy as np  # noqa: PLC0415

            before, after = (np.array([getattr(run, part) for run in each]) for part in ("before", "after"))
            gain = metrics.clustered_bootstrap_gain(before, after)
            spread = metrics.mean_std([float(run.after.mean() - run.before.mean()) for run in each]).std
            cells = (
                *(shown, model, name, f"{runs[0][1]['n_train']:,}", str(len(each))),
                *(f"{100 * before.mean():.2f}", f"{100 * after.mean():.2f}"),
                f"{100 * gain.gain:+.2f}" + (f" ± {100 * spread:.2f}" if len(each) > 1 else ""),
                f"{100 * gain.low:+.2f} to {100 * gain.high:+.2f}",
                f"{metrics.sign_flip_test(before, after):.2g}",
                f"{100 * np.mean([run.hard for run in each]):.1f}",
                f"{sum(run.pays for run in each)} of {len(each)}",
            )
            table.add_row(*map(literal, cells))
    _print(Screen(), table)


def _show_verdicts(folders: Sequence[Path], rules: Sequence[Any], draws: int, anew: Rescored | None) -> None:
    from rich.table import Table  # noqa: PLC0415

    from lrsl.reranking.distribution import CRITERIA  # noqa: PLC0415
    from lrsl.screen import Screen, literal  # noqa: PLC0415

    table = Table(title="verdicts, and the gain on the rest in points", title_justify="left")
    words = ("data set", "model", "rule", "criterion")
    for heading in (*words, "draws", "gain, always on", "on", "gain, where on", "on and a loss", "off and a gain"):
        table.add_column(heading, justify="left" if heading in words else "right", overflow="fold")
    for (dataset, model, _), runs in _runs(folders).items():
        judged: dict[str, list[Drawn]] = defaultdict(list)
        for folder, content in runs:
            for rule in _rules(rules, int(content["k"])):
                print(f"{folder}: {rule.name} …", file=sys.stderr, flush=True)
                judged[rule.name] += judge_draws(folder, rule, draws, anew)
        for (name, each), criterion in product(judged.items(), CRITERIA):
            on = [drawn.gain for drawn in each if drawn.deploys[criterion]]
            off = [drawn.gain for drawn in each if not drawn.deploys[criterion]]
            shares = [len(on), sum(gain < 0 for gain in on), sum(gain > 0 for gain in off)]
            of_all, losses, missed = (f"{100 * share / len(each):.0f} %" for share in shares)
            always = sum(drawn.gain for drawn in each) / len(each)
            cells = [dataset, model, name, criterion, str(len(each)), f"{100 * always:+.2f}", of_all]
            cells += [f"{100 * sum(on) / len(on):+.2f}" if on else "", losses, missed]
            table.add_row(*map(literal, cells))
    _print(Screen(), table)


def _print(console: Console, table: Table) -> None:
    if not console.is_terminal:
        console.width = 200  # a file has no edge to wrap at
    console.print(table)


def _runs(folders: Sequence[Path]) -> dict[tuple[str, str, str], list[tuple[Path, dict[str, Any]]]]:
    """Return the runs that have kept their scores, with their results, by what they are runs of, data included."""
    from lrsl.paths import is_folder  # noqa: PLC0415
    from lrsl.run import results  # noqa: PLC0415

    runs: dict[tuple[str, str, str], list[tuple[Path, dict[str, Any]]]] = defaultdict(list)
    seen: set[Path] = set()
    for folder in folders:
        if not is_folder(folder):
            raise InputError(f"{folder} is no folder; name one that holds runs")
        for path in sorted(folder.rglob(results.SCORES)):
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            content = _of_a_run(results.read(path.parent))
            if content is not None and content.get("status") == "finished":
                of = str(path.parent.parent if path.parent.name.startswith("seed") else path)
                data = "" if _own_draw(path.parent) else content.get("data")
                runs[content["dataset"], content["model"], f"{data}/{of}"].append((path.parent, content))
    if not runs:
        raise InputError(
            f"no run in {', '.join(map(str, folders))} has kept its scores ({results.SCORES}); run it with this version"
        )
    return runs


def _own_draw(folder: Path) -> bool:
    """Tell whether a run's few samples were drawn by its seed, so that its data are no other run's."""
    from lrsl.run.finished import CONFIGURATION  # noqa: PLC0415
    from lrsl.strict_json import parsed  # noqa: PLC0415

    try:
        dataset = parsed((folder / CONFIGURATION).read_text(encoding="utf-8"))["dataset"]
        return dataset["per_class"] is not None and dataset["split_seed"] is None
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _of_a_run(content: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return results if they are a run's."""
    from lrsl.run import shapes  # noqa: PLC0415

    try:
        shapes.check_results(content)
    except ValueError:
        return None
    return content


def _rules(given: Sequence[Any], k: int) -> list[NamedRule]:
    from lrsl.config.schema import Config, RerankerConfig  # noqa: PLC0415
    from lrsl.run.rules import FITTED, rule_of  # noqa: PLC0415

    config = Config(reranker=RerankerConfig(k=k))
    rules = [rule_of("rules", rule, config) for rule in (given or [{"name": FITTED}])]
    names = [rule.name for rule in rules]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"two rules are called {twice[0]}; give each --rule a name of its own")
    return rules


def replay(folder: Path, named: NamedRule, anew: Rescored | None = None) -> Replayed:
    """Fit a rule on a run's validation scores and apply it to its test scores.

    Args:
        folder: the run's.
        named: the rule.
        anew: gives the scores of views that the run has not asked; without it these are refused.

    Raises:
        InputError: the run has not kept its scores, or lacks those of a view.
    """
    from lrsl.reranking.rule import recorded_scores  # noqa: PLC0415
    from lrsl.reranking.verdict import verdict  # noqa: PLC0415

    kept, val, test = kept_scores(folder, named, anew)
    logits, labels = kept.logits["test"], kept.labels["test"]
    alike = None if kept.alike is None else kept.alike["val"]
    fitted = named.rule.fit(
        kept.logits["val"], kept.labels["val"], [recorded_scores(score) for score in val], alike=alike
    )
    reranked = fitted.rerank(logits, [recorded_scores(score) for score in test])
    pays = verdict(named.rule, kept.logits["val"], kept.labels["val"], val, alike=alike).deploy
    before, after = (answers == labels for answers in (logits.argmax(-1), reranked.labels))
    return Replayed(before.numpy(), after.numpy(), reranked.hard.double().mean().item(), pays)


@dataclass(frozen=True)
class Drawn:
    """What a verdict said of a rule on rows that were drawn, and what the rule did on the others.

    Attributes:
        deploys: what the verdict says by each criterion.
        gain: the gain in accuracy on the other rows, as a fraction.
    """

    deploys: Mapping[str, bool]
    gain: float


def judge_draws(folder: Path, named: NamedRule, draws: int, anew: Rescored | None = None) -> list[Drawn]:
    """Judge a rule on rows drawn from validation and test of a run, as many as validation has, time and again.

    The same rows are drawn for every rule. A run's test rows thus tell how far verdicts can be trusted, and nothing
    about any rule.

    Raises:
        InputError: the run has not kept its scores, or lacks those of a view.
    """
    import torch  # noqa: PLC0415

    from lrsl.reranking.rule import recorded_scores  # noqa: PLC0415
    from lrsl.reranking.verdict import verdicts  # noqa: PLC0415
    from lrsl.run import scored  # noqa: PLC0415

    kept, val, test = kept_scores(folder, named, anew)
    logits, labels = (torch.cat([of[split] for split in scored.SPLITS]) for of in (kept.logits, kept.labels))
    scores = [torch.cat(both) for both in zip(val, test, strict=True)]
    alike = _alike(kept)
    generator = torch.Generator().manual_seed(0)
    drawn = []
    for _ in range(draws):
        seen, others = torch.randperm(len(labels), generator=generator).tensor_split([len(kept.labels["val"])])
        of_seen, of_others = ([score[rows] for score in scores] for rows in (seen, others))
        said = verdicts(named.rule, logits[seen], labels[seen], of_seen, alike=alike[seen])
        fitted = named.rule.fit(
            logits[seen], labels[seen], [recorded_scores(score) for score in of_seen], alike=alike[seen]
        )
        answers = fitted.rerank(logits[others], [recorded_scores(score) for score in of_others]).labels
        before, after = (labels[others] == answer for answer in (logits[others].argmax(-1), answers))
        says = {criterion: verdict.deploy for criterion, verdict in said.items()}
        drawn.append(Drawn(says, (after.double().mean() - before.double().mean()).item()))
    return drawn


def _alike(kept: Scored) -> Tensor:
    """Return a number for each row of validation and test, `(n,)`, the same for rows of one text in one of them."""
    import torch  # noqa: PLC0415

    n, m = (len(kept.labels[split]) for split in ("val", "test"))
    if kept.alike is None:
        return torch.arange(n + m)
    return torch.cat([kept.alike["val"], n + kept.alike["test"]])


def kept_scores(
    folder: Path, named: NamedRule, anew: Rescored | None = None
) -> tuple[Scored, list[Tensor], list[Tensor]]:
    """Return what a run has kept, and of a rule's views the scores on validation and test.

    Raises:
        InputError: the run has not kept its scores, or lacks those of a view and `anew` cannot give them.
    """
    from lrsl.run import scored  # noqa: PLC0415

    kept = scored.read(folder)
    val, test = [], []
    for view in named.views:
        of_val, of_test = (kept.of(view, split) for split in scored.SPLITS)
        if of_val is None or of_test is None:
            if anew is None:
                raise InputError(
                    f"{folder} has no scores of the view {view.name} with {dict(view.settings)}; it has "
                    f"{', '.join(f'{name} with {of}' for name, of in sorted(kept.settings.items()))}. A view that "
                    "learns from texts alone, as lexical and linear_probe do, is fitted now with --data-dir FOLDER"
                )
            of_val, of_test = (anew(folder, view)[split] for split in scored.SPLITS)
        val.append(of_val)
        test.append(of_test)
    return kept, val, test


if __name__ == "__main__":
    sys.exit(main())
