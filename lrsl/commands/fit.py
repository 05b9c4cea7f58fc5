"""Fit a reranker on held-out rows of a classifier somebody has, say whether it pays, and save it.

lrsl fit --logits val.npz --texts val.csv --train train.csv --embedding MODEL --out my-reranker
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lrsl.commands import given as of
from lrsl.commands.given import Labels
from lrsl.errors import InputError, nearest

RULES, DEPLOY, ON_HARD = ("fitted", "paper"), ("auto", "always"), ("rerank", "abstain", "set")


@dataclass(frozen=True)
class Read:
    """What the files hold.

    Attributes:
        logits: `(n, classes)`.
        labels: of the held-out rows.
        texts: of the held-out rows.
        train: texts, labels and logits of the training rows; None without.
        names: what the labels are called, in the order of the columns; None where they are numbers.
        classes: what the file of logits calls them; None where it does not say.
        label_texts: what they mean.
        sorted: whether the order of the columns is taken to be that of the sorted names.
    """

    logits: Any
    labels: Labels
    texts: list[str]
    train: tuple[list[str], Labels, Any] | None
    names: list[str] | None
    classes: list[Any] | None
    label_texts: list[str]
    sorted: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, print the report and the verdict, save, and return the exit status."""
    typed = _parser().parse_args(arguments)

    def work() -> None:
        out = _free(typed.out)
        recipe = dict(_setting(text) for text in typed.recipe)
        _fit(typed, _read(typed), recipe, out)

    return of.status(work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lrsl fit",
        usage="lrsl fit --logits FILE --texts TABLE --embedding MODEL --out FOLDER [flags] [KEY=VALUE ...]",
        description="Fit a reranker on labelled rows that your classifier was not trained on; say whether it pays.",
        epilog="example: lrsl fit --logits val.npz --texts val.csv --train train.csv --out my-reranker \\\n"
        "           --embedding sentence-transformers/all-MiniLM-L6-v2 epochs=2",
        formatter_class=of.Help,
    )
    of.add_files(parser)
    add = parser.add_argument
    add("--labels", metavar="COLUMN|FILE", help="true labels, names or numbers of columns (the column label)")
    add("--names", type=Path, metavar="FILE", help="what the logits' columns are called, in order (sorted labels)")
    add("--label-texts", type=Path, metavar="FILE", help="what each means: a mapping from names, or a list")
    add("--train", type=Path, metavar="TABLE", help="rows to learn from, with the columns of --texts")
    add("--train-logits", type=Path, metavar="FILE", help="their logits, for negatives=confused")
    add("--embedding", metavar="FOLDER|ID", help="text embedding: a folder, or an id of the hub")
    add("--out", type=Path, required=True, metavar="FOLDER", help="where the reranker is saved")
    add("--rule", choices=RULES, default="fitted", help="which rule (fitted); what is given below replaces its part")
    add("--detector", metavar="YAML", help="such as Entropy, or '{TopKVariance: {k: 5}}'")
    add("--threshold", metavar="YAML", help="such as BestGain, or '{Budget: {share: 0.2}}'")
    add("--views", metavar="YAML", help="such as '[LabelSimilarity, Lexical]'")
    add("--fusion", metavar="YAML", help="such as LogLinear, or '{Paper: {power: auto}}'")
    add("--k", type=int, help="largest logits and candidates (3, or all of fewer)")
    add("--power", help="exponent of the paper's rule, or auto (1)")
    add("--deploy", choices=DEPLOY, help="rerank where it pays, or always (auto; always with --rule paper)")
    add("--on-hard", choices=ON_HARD, default="rerank", help="what becomes of hard rows (rerank)")
    add("--coverage", type=float, default=0.9, help="share of hard rows whose set holds the label (0.9)")
    add(
        "--columns",
        choices=("checked", "trusted"),
        default="checked",
        help="their order, by the rows (checked)",
    )
    add(
        "recipe",
        nargs="*",
        metavar="KEY=VALUE",
        help="how to fine-tune on --train: epochs=2, or finetune=false",
    )
    return parser


def _free(out: Path) -> Path:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out} is there already; name another folder, or remove it")
    above = next(folder for folder in out.absolute().parents if folder.exists())
    try:
        with tempfile.TemporaryDirectory(dir=above):  # now: what is learnt must not be lost for want of a place
            return out
    except OSError as error:
        raise InputError(f"--out {out} cannot be made in {above} ({error.strerror}); name another folder") from None


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"{text} is no KEY=VALUE; write epochs=2 for a key of the recipe")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        raise InputError(f"{text} has a value that is no YAML; put it in quotation marks") from None


def _read(typed: argparse.Namespace) -> Read:
    """Read everything, and refuse what does not fit, before a network is loaded."""
    from lrsl.data.logits import look_at  # noqa: PLC0415

    if typed.power is not None and (typed.rule != "paper" or typed.fusion is not None):
        raise InputError("--power is the paper's exponent and has no effect here; give it with --rule paper, alone")
    if typed.train is None and typed.train_logits is not None:
        raise InputError("--train-logits has no effect without --train; give the table of their texts")
    file = look_at(typed.logits, typed.logits_key)
    column = None if typed.labels and Path(typed.labels).is_file() else typed.labels or "label"
    texts, found = of.rows_of(typed.texts, typed.text_key, column, typed.quoting)
    labels = found if column else of.labels_in(Path(typed.labels), typed.quoting)
    for many, what in ((len(texts), "texts"), (len(labels), "labels")):
        if many != file.rows:
            raise InputError(f"{typed.logits} has {file.rows:,} rows of logits, and there are {many:,} {what}")
    trained = None
    if typed.train is not None:
        trained = of.rows_of(typed.train, typed.text_key, column or "label", typed.quoting)
    every = [labels, trained[1] if trained else []]
    classes, names = file.names, None
    if typed.names is not None:
        names = [str(name) for name in of.listed(typed.names, "--names")]
    elif classes is not None and any(isinstance(name, str) for name in classes):
        names = [str(name) for name in classes]
    if in_order := names is not None:
        known = [of.as_labels(some, names) for some in every]
        _check_known(typed, known, names)
    else:  # names anywhere make names of all
        joined = of.as_labels([*every[0], *every[1]], None)
        known = [joined[: len(labels)], joined[len(labels) :]]
        if any(isinstance(label, str) for label in joined):
            names = sorted({str(label) for label in joined})
    logits = file.all()
    if names is not None and len(names) != logits.shape[1]:
        hint = "" if in_order else _about_number(typed, every, more=len(names) > logits.shape[1])
        raise InputError(f"{typed.logits} has {logits.shape[1]} columns, and there are {len(names)} labels{hint}")
    meant = None if typed.label_texts is None else of.listed(typed.label_texts, "--label-texts")
    train = None
    if trained is not None:
        train_logits = None if typed.train_logits is None else look_at(typed.train_logits, typed.logits_key).all()
        train = (trained[0], known[1], train_logits)
    label_texts = of.texts_of_labels(names, meant, "--label-texts")
    return Read(logits, known[0], texts, train, names, classes, label_texts, not in_order)


def _place(typed: argparse.Namespace, part: int, row: int) -> str:
    """Return where a label stands: part 0 is the held-out rows, 1 those of training."""
    apart = typed.labels and Path(typed.labels).is_file()
    path = typed.train if part else Path(typed.labels) if apart else typed.texts
    return of.place_of(path, row, typed.quoting)


def _check_known(typed: argparse.Namespace, parts: Sequence[Labels], names: list[str]) -> None:
    """Refuse a label that is none of the names, if labels are names."""
    known = set(names)
    for part, labels in enumerate(parts):
        for row, label in enumerate(labels):
            if isinstance(label, str) and label not in known:
                where = f"--names {typed.names}" if typed.names else typed.logits
                raise InputError(
                    f"{_place(typed, part, row)} has the label {label!r}, which is none of the {len(names)} names in "
                    f"{where}{nearest(label, names)}"
                )


def _about_number(typed: argparse.Namespace, parts: Sequence[Sequence[Any]], *, more: bool) -> str:
    """Say what to do where there are more labels than columns, or fewer; of more, where the rarest stands first."""
    if not more:
        return "; name all, in the order of the columns, with --names"
    counts = Counter(str(label) for labels in parts for label in labels)
    label = min(counts, key=counts.__getitem__)
    part, row = next(
        (part, row) for part, labels in enumerate(parts) for row, one in enumerate(labels) if str(one) == label
    )
    hint = nearest(label, [other for other in counts if other != label])
    return f"; every label needs a column, and the rarest, {label!r} at {_place(typed, part, row)}, may be a typo{hint}"


@contextmanager
def _embedding_watched() -> Iterator[None]:
    """Show how many texts have been embedded, where that takes long; fine-tuning shows its own epochs instead."""
    from lrsl.commands.answering import Progress  # noqa: PLC0415
    from lrsl.embedding.text_embedding import watched  # noqa: PLC0415

    progress: Progress | None = None
    embedded = 0

    def seen(many: int) -> None:
        nonlocal progress, embedded
        progress = progress or Progress(0, None, quiet=False, what="texts embedded")
        embedded += many
        progress.show(embedded)

    with watched(seen):
        yield
    if progress is not None:
        progress.leave()


def _fit(typed: argparse.Namespace, read: Read, recipe: dict[str, Any], out: Path) -> None:
    from lrsl.commands.components import component, components  # noqa: PLC0415  (torch, now that the files are read)
    from lrsl.plugin import report  # noqa: PLC0415
    from lrsl.plugin.reranker import Reranker  # noqa: PLC0415
    from lrsl.reranking.detector import Detector  # noqa: PLC0415
    from lrsl.reranking.fusion import Fusion  # noqa: PLC0415
    from lrsl.reranking.threshold import ThresholdRule  # noqa: PLC0415
    from lrsl.reranking.view import View  # noqa: PLC0415

    reranker = Reranker(
        typed.embedding,
        read.label_texts,
        k=typed.k,
        power=1.0 if typed.power is None else yaml.safe_load(typed.power),
        detector=typed.detector and component("--detector", typed.detector, Detector),
        threshold=typed.threshold and component("--threshold", typed.threshold, ThresholdRule),
        views=typed.views and components("--views", typed.views, View),
        fusion=typed.fusion and component("--fusion", typed.fusion, Fusion),
        rule=typed.rule,
        deploy=typed.deploy,
        on_hard=typed.on_hard,
        coverage=typed.coverage,
        names=read.names,
    )
    tunes = read.train is not None and recipe.get("finetune", True)
    with warnings.catch_warnings(record=True) as caught, nullcontext() if tunes else _embedding_watched():
        warnings.simplefilter("always", UserWarning)
        reranker.fit(
            read.logits, read.labels, read.texts, read.train, classes=read.classes, columns=typed.columns, **recipe
        )
    for sentence in dict.fromkeys(str(one.message) for one in caught if one.category is UserWarning):
        print(f"warning: {sentence}", file=sys.stderr)
    if read.sorted and read.names is not None:
        print("the logits' columns are taken to be the labels in alphabetical order; --names gives another")
    print("\n".join(report.sentences(reranker.report_, reranker.cost_, len(read.label_texts))))
    if reranker.is_on and not reranker.report_["verdict"]["deploy"]:
        print("hard rows are reranked all the same; with --deploy auto they keep the classifier's answers")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        reranker.save_pretrained(Path(scratch) / "whole")
        (Path(scratch) / "whole").replace(out)  # an empty folder gives way
    print(f"saved; next: lrsl rerank {out} --logits FILE --texts TABLE --out answers.jsonl")
