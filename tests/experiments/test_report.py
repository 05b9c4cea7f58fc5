import base64
import hashlib
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import chromium
import fabricated_runs
import pytest

from experiments import report
from experiments.report.confused_pairs import confused_pairs
from experiments.report.content import labels_table, pairs_table, results_table, seeds_table, verdict
from experiments.report.jobs import ReportedJob, commands, jobs_of
from experiments.report.label_changes import label_changes
from experiments.report.page import SAMPLES
from experiments.report.suspect_labels import SUSPECTS_SHOWN, suspects_table
from experiments.report.table import percent, points, probability
from experiments.runs.configurations import configurations
from experiments.runs.telling import BROKEN, MENDED, MOVED, TellingSample, shortened, telling
from lrsl import metrics
from lrsl.errors import InputError
from lrsl.run import results

ATTACK = "</script><img src=x onerror=alert(1)><!--"
RUNS = [
    *({"seed": seed} for seed in (0, 1, 2)),
    *({"model": "roberta", "dataset": "电信", "names": fabricated_runs.CHINESE, "seed": seed} for seed in range(4)),
]


class Elements(HTMLParser):
    """The elements of a page, and the text of its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inside = ""
        self.scripts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.inside = tag

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts.append(data)

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""


def of(folder: Path) -> list[Any]:
    return configurations([job.run for job in jobs_of(folder) if job.run is not None])


def job(*overrides: str, failed: str = "", composed: bool = True) -> ReportedJob:
    return ReportedJob(overrides, None, failed, composed)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fabricated_runs.write_sweep(tmp_path_factory.mktemp("multirun_outputs"), RUNS, failed=("model=nope",))


@pytest.fixture(scope="module")
def page(sweep: Path) -> Path:
    return report.write(sweep)


# what it says


def test_the_table_has_the_means_of_the_runs(sweep):
    table = results_table(of(sweep))
    headings = [column.heading for column in table.columns]
    (row,) = (row for row in table.rows if [cell.text for cell in row[:2]] == ["telecom", "bert"])
    runs = sweep.parents[1] / "telecom" / "bert" / "0a1b2c3d"
    found = [results.read(runs / f"seed{seed}") for seed in (0, 1, 2)]
    for system in ("origin", "rerank", "similarity"):
        mean, std = metrics.mean_std([one[system]["accuracy"] for one in found])  # type: ignore[index]
        cell = row[headings.index(system)]
        assert (cell.text, cell.spread) == (f"{100 * mean:.2f}", f"± {100 * std:.2f}")
    gain = row[headings.index("gain")]
    assert gain.value == pytest.approx(row[headings.index("rerank")].value - row[headings.index("origin")].value)
    assert gain.tone == "up"
    assert row[headings.index("p")].value < 0.05
    assert row[headings.index("seeds")].text == "0–2"


def test_every_seed_has_a_row(sweep):
    table = seeds_table(of(sweep))
    assert len(table.rows) == len(RUNS)
    assert [cell.text for cell in table.rows[0][:3]] == ["telecom", "bert", "0"]


def test_labels_are_counted_over_seeds(sweep):
    (ours,) = (one for one in of(sweep) if (one.dataset, one.model) == ("telecom", "bert"))
    changes = label_changes(ours)
    worth = [run.results["significance"] for run in ours.runs.values()]
    assert sum(change.mended for change in changes) == sum(one["only_rerank_correct"] for one in worth)
    assert sum(change.broken for change in changes) == sum(one["only_origin_correct"] for one in worth)
    gains = [(change.rerank - change.origin) / change.samples for change in changes]
    assert gains == sorted(gains, reverse=True)
    assert labels_table([ours]).columns[0].heading == "label"


def test_confused_pairs_by_hand(tmp_path):
    folder = fabricated_runs.write_run(tmp_path / "seed0", n=7)
    kept = {
        "id": "test-0",
        "text": "a text",
        "hardness": 0.0,
        "top_k_before": [["a", 1.0]],
        "top_k_after": [["a", 1.0]],
    }
    told = [  # gold, origin, hard, rerank, hard for fitted, fitted if hard
        ("a", "b", True, "a", True, "b"),
        ("a", "b", True, "b", True, "a"),
        ("a", "a", True, "b", False, "b"),
        ("b", "a", False, "a", True, "b"),
        ("b", "b", True, "c", True, "a"),
        ("b", "a", False, "a", False, "b"),  # easy for both
        (ATTACK, "a", True, ATTACK, False, "a"),
    ]
    lines = [
        {**kept, "gold": gold, "origin": origin, "hard": hard, "rerank": rerank}
        | {"beside": {"fitted": {"hard": hard_too, "hardness": 0.0, "if_hard": fitted}}}
        for gold, origin, hard, rerank, hard_too, fitted in told
    ]
    results.write(folder, results.read(folder), lines)  # type: ignore[arg-type]
    (ours,) = of(tmp_path)
    pairs = {(pair.label, pair.other): pair for pair in confused_pairs(ours)}
    assert {key: pair.samples for key, pair in pairs.items()} == {
        ("a", "b"): 2,
        ("b", "a"): 1,
        ("b", "c"): 0,
        (ATTACK, "a"): 1,
    }
    assert pairs["a", "b"].mended == {"rerank": 1, "fitted": 1}
    assert pairs["a", "b"].broken == {"rerank": 1, "fitted": 0}
    assert pairs["b", "a"].mended == {"rerank": 0, "fitted": 1}
    assert pairs["b", "a"].broken == {"rerank": 0, "fitted": 1}
    assert pairs["a", "b"].gains == pairs["b", "a"].gains == {"rerank": "", "fitted": "a"}
    assert pairs["b", "c"].gains == {"rerank": "", "fitted": ""}
    assert pairs[ATTACK, "a"].gains == {"rerank": ATTACK, "fitted": ""}
    table = pairs_table([ours])
    assert [cell.text for cell in table.rows[0]] == ["a", "b", "2", "1", "1", "–", "1", "0", "a"]
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_confused_pairs_stand_in_the_page(sweep, page):
    content = page.read_text(encoding="utf-8")
    assert 'id="pairs-table"' in content
    table = pairs_table(of(sweep))
    mended = sum(cell.value for row in table.rows for cell in row[4:5])
    worth = [results.read(path.parent) for path in sweep.parents[1].rglob("results.json")]
    assert mended == sum(one["significance"]["only_rerank_correct"] for one in worth)  # type: ignore[index]


@pytest.mark.parametrize(
    ("value", "text", "tone"),
    [(0.0015, "+0.15", "up"), (-0.0015, "−0.15", "down"), (0.0, "0.00", ""), (-0.00001, "0.00", "")],
)
def test_differences_have_a_sign(value, text, tone):
    assert points(value) == text
    assert percent([value], signed=True).tone == tone


def test_probabilities():
    assert [probability(value).text for value in (None, 0.00001, 0.0123)] == ["–", "< 0.001", "0.012"]


def test_the_verdict_counts_configurations(sweep):
    said = verdict(of(sweep))
    assert re.match(r"Reranking raises the accuracy on test in \d of 2 configurations; ", said)
    (one,) = (one for one in of(sweep) if (one.dataset, one.model) == ("telecom", "bert"))
    assert re.fullmatch(
        r"Reranking raises the accuracy on test from [\d.]+ to [\d.]+ % \(mean of 3 seeds, p (= [\d.]+|< 0.001)\).",
        verdict([one]),
    )


# which samples it shows


def test_telling_samples_are_those_that_changed_in_the_most_seeds_first(sweep):
    (ours,) = (one for one in of(sweep) if (one.dataset, one.model) == ("telecom", "bert"))
    samples = telling([ours])
    effects = [sample for sample in samples if sample.kind != MOVED]
    assert effects == samples[: len(effects)]
    assert [sample.seeds for sample in effects] == sorted((sample.seeds for sample in effects), reverse=True)
    for sample in samples:
        gold, origin, rerank = (sample.line[key] for key in ("gold", "origin", "rerank"))
        expected = MENDED if rerank == gold else BROKEN if origin == gold else MOVED
        assert sample.kind == expected
        assert origin != rerank
        assert sample.line["hard"]


def test_what_was_broken_is_never_left_out_for_what_was_mended():
    def made(kind: str, n: int) -> list[TellingSample]:
        return [TellingSample("a", "a", kind, 1, 1, 0, {}) for _ in range(n)]

    def kept(limit: int, **of_kind: int) -> list[int]:
        samples = [sample for kind, n in of_kind.items() for sample in made(kind, n)]
        kinds = [sample.kind for sample in shortened(samples, limit)]
        return [kinds.count(kind) for kind in of_kind]

    assert kept(9, mended=100, broken=100, moved=0) == [6, 3, 0]
    assert kept(9, mended=100, broken=1, moved=0) == [8, 1, 0]
    assert kept(9, mended=2, broken=100, moved=0) == [2, 7, 0]
    assert kept(9, mended=2, broken=3, **{MOVED: 100}) == [2, 3, 4]


# how to reproduce


def test_a_sweep_is_one_command():
    jobs = [job("dataset=a", f"model={model}", f"seed={seed}") for model in ("bert", "minilm") for seed in (0, 1)]
    assert commands(jobs) == ["python run.py dataset=a model=bert,minilm seed=0,1 -m"]
    jobs.append(job("model=nope", failed="no such model", composed=False))
    assert commands(jobs) == ["python run.py dataset=a model=bert,minilm seed=0,1 -m"]


def test_what_is_no_product_is_a_command_for_each_set_of_seeds():
    jobs = [job(f"model={model}", f"seed={seed}") for model, seed in (("bert", 0), ("bert", 1), ("minilm", 0))]
    assert commands(jobs) == ["python run.py model=bert seed=0,1 -m", "python run.py model=minilm seed=0"]
    assert commands([job("seed=0"), job("seed=1", "model=bert")]) == [
        "python run.py seed=0",
        "python run.py seed=1 model=bert",
    ]


def test_commands_can_be_pasted():
    assert commands([job("dataset.text='a b'")]) == ["python run.py 'dataset.text='\"'\"'a b'\"'\"''"]
    assert commands([job()]) == []


def noted(folder, own, cwd):
    sources = [{"path": "hydra.conf", "provider": "hydra"}, {"path": str(own), "provider": "command-line"}]
    path = folder / ".hydra" / "hydra.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"hydra": {"runtime": {"cwd": str(cwd), "config_sources": sources}}}))


def test_a_users_own_folder_is_part_of_the_command(tmp_path):
    sweep = fabricated_runs.write_sweep(tmp_path / "runs", [{"seed": seed} for seed in (0, 1)])
    runs = [one.folder for one in jobs_of(sweep)]
    (plain,) = commands(jobs_of(sweep))
    for folder in runs:
        noted(folder, tmp_path / "my own", tmp_path)
    arguments = plain.removeprefix("python run.py ")
    assert commands(jobs_of(sweep)) == [f"python run.py --config-dir 'my own' {arguments}"]
    noted(runs[1], "/elsewhere", tmp_path)
    assert [command.split(" dataset=")[0] for command in commands(jobs_of(sweep))] == [
        "python run.py --config-dir 'my own'",
        "python run.py --config-dir /elsewhere",
    ]


def test_commands_are_those_of_whoever_types_lrsl(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/lrsl", "report"])
    assert commands([job("seed=0")]) == ["lrsl run seed=0"]


def test_a_sweep_that_was_moved_is_found(tmp_path):
    sweep = fabricated_runs.write_sweep(tmp_path / "before", [{"seed": 0}])
    (tmp_path / "before").rename(tmp_path / "after")
    (found,) = jobs_of(tmp_path / "after" / sweep.relative_to(tmp_path / "before"))
    assert found.run is not None
    assert not found.failed


def test_failed_jobs_are_reported(page, sweep):
    assert [one.failed for one in jobs_of(sweep) if one.failed] == ["no such luck"]
    assert "<strong>model=nope</strong>: no such luck" in page.read_text(encoding="utf-8")


def test_runs_without_predictions_are_reported_too(tmp_path):
    folder = fabricated_runs.write_run(tmp_path / "seed0")
    for name in ("predictions.jsonl", "labels.json", "config.json"):
        (folder / name).unlink()
    text = report.write(tmp_path).read_text(encoding="utf-8")
    assert "No run kept predictions of which reranking changed any." in text
    assert "These runs did not note their command" in text
    assert "telecom, bert: no run kept predictions with rerank_if_hard." in text


def test_damaged_and_missing_folders_are_one_sentence(tmp_path):
    with pytest.raises(InputError, match="nowhere is not a folder"):
        jobs_of(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no runs"):
        jobs_of(tmp_path)
    (tmp_path / "runs.jsonl").write_text('{"status": "finished"}\n')
    with pytest.raises(InputError, match=r"runs\.jsonl, line 1 is damaged"):
        jobs_of(tmp_path)


def test_the_command_line(tmp_path, capsys, monkeypatch):
    from experiments.report.__main__ import main

    monkeypatch.chdir(tmp_path)
    assert main([]) == 1
    assert capsys.readouterr().err == "multirun_outputs/sweeps holds no sweep; run one, or name a folder of runs\n"
    assert main(["nowhere"]) == 1
    fabricated_runs.write_sweep(tmp_path / "multirun_outputs", [{}])
    (tmp_path / "multirun_outputs" / "telecom" / "bert" / "0a1b2c3d" / "seed0" / "predictions.jsonl").unlink()
    assert main([]) == 0
    assert capsys.readouterr().out == "multirun_outputs/sweeps/fabricated-0000/report.html (0.1 MB)\n"


# what it is made of


def test_texts_of_data_sets_stay_text(tmp_path):
    names = (ATTACK, *fabricated_runs.LABELS[1:])
    run = {"names": names, "text": ATTACK, "dataset": "a&b", "model": "<b>"}
    page = report.write(fabricated_runs.write_sweep(tmp_path, [run])).read_text(encoding="utf-8")
    assert ATTACK not in page
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;" in page
    elements = Elements(page)
    tags = [tag for tag, _ in elements.found]
    assert tags.count("script") == len(elements.scripts) == 1
    assert not {"img", "b", "iframe", "object", "form"} & set(tags)
    assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]


def test_no_script_but_its_own_may_run_and_nothing_is_loaded(page):
    elements = Elements(page.read_text(encoding="utf-8"))
    (policy,) = (
        found["content"] for tag, found in elements.found if found.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    digest = base64.b64encode(hashlib.sha256(elements.scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    for tag, attributes in elements.found:
        for name in ("src", "href", "xlink:href", "action", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)


def test_ids_are_unique_and_tables_have_headers(page):
    elements = Elements(page.read_text(encoding="utf-8"))
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    heads = [attributes for tag, attributes in elements.found if tag == "th"]
    assert {attributes["scope"] for attributes in heads} == {"col", "row"}
    labelled = [attributes["aria-label"] for tag, attributes in elements.found if tag == "svg"]
    assert len(labelled) == 1 + 2 + 2 + 2 + 4 + 2 + 2  # one of each per data set but the first and the distances
    assert all(labelled)


def test_a_large_sweep_is_a_small_file(tmp_path):
    run = {"text": "a long text " * 400, "n": 2000, "names": fabricated_runs.LABELS[:4]}
    page = report.write(fabricated_runs.write_sweep(tmp_path, [run]))
    text = page.read_text(encoding="utf-8")
    assert text.count('<article class="sample"') == SAMPLES
    assert re.search(rf"{SAMPLES} of [\d,]+ are in this file", text)
    assert page.stat().st_size < 1_000_000


# in a browser


@pytest.mark.timeout(600)  # a browser takes its time to start on a busy machine
def test_in_a_browser(page, tmp_path):
    with chromium.opened(tmp_path / "profile") as browser:
        browser.resize(1280)
        browser.visit(page)
        rows = "#seeds-table tbody tr:not([hidden])"
        headings = browser.run(
            "return Array.from(document.querySelectorAll('#seeds-table thead th'), e => e.innerText)"
        )
        origin = headings.index("origin")

        def column(number: int) -> list[str]:
            script = (
                "return Array.from(document.querySelectorAll(arguments[0]), e => e.children[arguments[1]].textContent)"
            )
            return list(browser.run(script, rows, number))

        def sort(number: int) -> list[str | None]:
            browser.run("document.querySelectorAll('#seeds-table thead button')[arguments[0]].click()", number)
            script = "return Array.from(document.querySelectorAll('#seeds-table thead th'), e => e.ariaSort)"
            return list(browser.run(script))

        for direction in ("descending", "ascending"):
            assert sort(origin) == [direction if one == origin else None for one in range(len(headings))]
            values = [float(text) for text in column(origin)]
            assert values == sorted(values, reverse=direction == "descending")
        sort(0)
        assert column(0) == ["telecom"] * 3 + ["电信"] * 4

        def enter(field: str, value: str) -> None:
            script = """
                const field = document.querySelector(arguments[0]);
                field.value = arguments[1];
                field.dispatchEvent(new Event("input", { bubbles: true }));
            """
            browser.run(script, field, value)

        enter("#seeds-table input", "TELECOM bert")
        assert column(0) == ["telecom"] * 3
        assert browser.run("return document.querySelector('#seeds-table output').innerText") == "3 of 7"
        enter("#seeds-table input", "")
        assert len(column(0)) == len(RUNS)

        def samples() -> list[str]:
            script = "return Array.from(document.querySelectorAll('.sample:not([hidden]) .kind'), e => e.innerText)"
            return list(browser.run(script))

        assert len(samples()) == 20
        browser.run("document.querySelector('#samples-list .more').click()")
        assert len(samples()) == 40
        enter("#samples-list select[name=kind]", "broken")
        assert set(samples()) == {"broken"}
        enter("#samples-list input", "no such words")
        assert samples() == []
        enter("#samples-list select[name=kind]", "")
        enter("#samples-list input", "电信")
        assert "mended" in samples()

        wider = """
            const edge = document.documentElement.clientWidth + 1;
            return Array.from(document.body.querySelectorAll(":not(.skip)"))
              .filter((one) => one.getBoundingClientRect().right > edge).map((one) => one.outerHTML.slice(0, 80));
        """
        for width in (1280, 1040, 700, 400, 320):
            browser.resize(width)
            assert browser.run("return document.documentElement.scrollWidth") <= width
            assert browser.run(wider) == [], width
        background = "return getComputedStyle(document.body).backgroundColor"
        light = browser.run(background)
        browser.resize(400, dark=True)
        assert browser.run(background) != light
        assert browser.console() == []
        assert browser.requests() == [page.as_uri()]

        # an attack does nothing
        run = {"names": (ATTACK, *fabricated_runs.LABELS[1:]), "text": f"{ATTACK}<svg onload=document.title=1>"}
        attacked = report.write(fabricated_runs.write_sweep(tmp_path, [run]))
        browser.visit(attacked)
        assert browser.run("return document.title") == "LRSL: telecom"
        assert browser.run("return document.images.length") == 0
        assert ATTACK in browser.run("return document.querySelector('.sample p').textContent")
        assert browser.console() == []
        assert browser.requests() == [attacked.as_uri()]


def test_contrast_is_enough_to_read():
    style = (Path(report.__file__).parent / "page.css").read_text(encoding="utf-8")
    for block in re.findall(r":root \{(.*?)\}", style, flags=re.DOTALL):
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))
        for text in ("ink", "muted", "accent", "up", "down"):
            for ground in ("paper", "raised"):
                assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        for drawn in ("blue", "vermilion", "green"):
            assert contrast(colours[drawn], colours["paper"]) >= 3, drawn


def contrast(one: str, other: str) -> float:
    """The contrast of two colours as WCAG 2.2 defines it."""
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True)))


def test_settings_are_shown_once(page):
    text = page.read_text(encoding="utf-8")
    assert text.count("<dt>model.epochs</dt>") == 1
    assert json.dumps(3) in text


# suspect labels


def suspect(number: int, **changed: Any) -> dict[str, Any]:
    line = {"id": f"train-{number}", "text": "lost my card", "given": "cash", "likelier": "card", "views": ["lexical"]}
    return {**line, "probability_given": 0.01, "probability_likelier": 0.9 - number / 1000, **changed}


def write_suspects(folder: Path, lines: list[dict[str, Any]]) -> None:
    (folder / results.SUSPECTS).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    found = json.loads((folder / results.RESULTS).read_text(encoding="utf-8"))
    (folder / results.RESULTS).write_text(json.dumps({**found, "folds": 5}), encoding="utf-8")


def test_suspect_labels_are_counted_over_seeds_and_what_most_suspect_comes_first(tmp_path):
    sweep = fabricated_runs.write_sweep(tmp_path, [{"seed": 0}, {"seed": 1}])
    first, second = sorted(tmp_path.rglob("seed*"))
    write_suspects(first, [suspect(0), suspect(1)])
    write_suspects(second, [suspect(1, probability_likelier=0.7)])
    table = suspects_table(of(sweep))
    cells = [[cell.text for cell in row] for row in table.rows]
    assert cells[0][1:5] == ["lost my card", "cash", "card", "0.010"]
    assert table.rows[0][5].value == pytest.approx((0.899 + 0.7) / 2)
    assert [row[0] for row in cells] == ["train-1", "train-0"]
    assert [row[-1] for row in cells] == ["2 of 2", "1 of 2"]


def test_suspect_labels_are_escaped_cut_and_no_more_than_fit(tmp_path):
    sweep = fabricated_runs.write_sweep(tmp_path, [{"seed": 0}])
    (folder,) = tmp_path.rglob("seed*")
    write_suspects(folder, [suspect(row, text=ATTACK + 400 * "x") for row in range(SUSPECTS_SHOWN + 7)])
    page = report.write(sweep).read_text(encoding="utf-8")
    assert "Suspect training labels" in page
    assert ATTACK not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert 400 * "x" not in page
    assert page.count(">train-") == SUSPECTS_SHOWN
    assert f"7 more stand in the {results.SUSPECTS} of the runs." in page


def test_without_folds_or_with_a_damaged_file_nothing_is_suspected(tmp_path, sweep, caplog):
    assert suspects_table(of(sweep)).rows == []
    assert "Suspect" not in report.write(sweep).read_text(encoding="utf-8")
    damaged = fabricated_runs.write_sweep(tmp_path, [{"seed": 0}])
    (folder,) = tmp_path.rglob("seed*")
    write_suspects(folder, [{"id": "train-0"}])
    assert suspects_table(of(damaged)).rows == []
    assert "is damaged and left out" in caplog.text
