"""The paper's tables with our numbers beside, and a reason wherever there are none."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fabricated_results import N, answers, write_failure, write_run, write_seeds

from experiments.paper import paper
from experiments.runs import collect, significance
from experiments.runs.configurations import configurations
from experiments.tables import accuracy, latex, markdown, semantic_mapping, similarity, sizes
from experiments.tables.__main__ import main
from experiments.tables.evidence import Evidence
from experiments.tables.table import Section, Table, interval, percent, probability
from lrsl import metrics
from lrsl.data.card import DatasetCard
from lrsl.data.telecom34.generate import SIZES

ROOT = Path(collect.__file__).parents[2]
SEEDS = range(5)
BUILDERS = (
    *(accuracy.table1, accuracy.table2, semantic_mapping.table3, similarity.table4, similarity.table5),
    *(accuracy.table6, accuracy.table7),
)


def evidence(*folders: Path) -> Evidence:
    return Evidence(configurations(collect.collect(folders)), paper())


def row(table: Table, section: str, name: str) -> dict[str, str]:
    (found,) = [cells for one in table.sections if one.title == section for cells in one.rows if cells[0] == name]
    return dict(zip(table.columns, found, strict=True))


def names(table: Table, section: str) -> list[str]:
    return [cells[0] for one in table.sections if one.title == section for cells in one.rows]


@pytest.fixture
def ablation(tmp_path: Path) -> Path:
    """Five seeds in full, without triplets and without fine-tuning, on Banking-77."""
    write_seeds(tmp_path / "full", SEEDS)
    write_seeds(tmp_path / "batch", SEEDS, embedding__negatives="batch", rerank=answers(80, [80]))
    write_seeds(tmp_path / "shelf", SEEDS, embedding__finetune=False, rerank=answers(60))
    return tmp_path


def test_ours_stands_beside_the_papers(tmp_path: Path) -> None:
    write_seeds(tmp_path, SEEDS, model="bert")
    table = accuracy.table1(evidence(tmp_path))
    found = row(table, "Banking-77", "BERT-base")
    origin, rerank = [0.80, 0.79, 0.80, 0.79, 0.80], [0.83] * 5
    assert (found["origin, paper"], found["rerank, paper"], found["gain, paper"]) == ("92.61", "93.66", "+1.05")
    assert found["origin, ours"] == percent(origin) == "79.60 ± 0.55"
    assert found["rerank, ours"] == percent(rerank) == "83.00 ± 0.00"
    assert found["gain, ours"] == "+3.40 ± 0.55"
    assert (found["seeds"], found["embedding"]) == ("5 (0–4)", "minilm, all")
    correct = [np.array([answers(80 - seed % 2) for seed in SEEDS]), np.array([answers(80, [80, 81, 82])] * 5)]
    assert found["p"] == probability(metrics.sign_flip_test(*correct)) == "0.125"
    gain = metrics.clustered_bootstrap_gain(*correct)
    assert found["95 % interval"] == interval(gain.low, gain.high)


def test_an_encoder_of_ours_is_one_more_row_and_a_data_set_of_ours_one_more_section(tmp_path: Path) -> None:
    write_seeds(tmp_path / "a", [0])
    write_seeds(tmp_path / "b", [0], dataset="telecom34")
    table = accuracy.table1(evidence(tmp_path))
    assert names(table, "Banking-77") == [*paper().models.values(), "minilm"]
    assert row(table, "Banking-77", "minilm")["origin, paper"] == "–"
    assert row(table, "Banking-77", "minilm")["origin, ours"] == "80.00"
    assert names(table, "telecom34 (not in the paper)") == ["minilm"]
    assert [one.title for one in accuracy.table6(evidence(tmp_path)).sections] == ["TSEC"]


def test_hard_samples(tmp_path: Path) -> None:
    write_seeds(tmp_path, [0, 1], model="roberta", hard=range(75, 100))
    table = accuracy.table2(evidence(tmp_path))
    found = row(table, "Banking-77", "RoBERTa-base")
    assert (found["hard, paper"], found["hard, ours"]) == ("9.15", "25.00 ± 0.00")
    assert found["origin, ours"] == percent([5 / 25, 4 / 25])
    assert found["gain, ours"] == percent([3 / 25, 4 / 25], sign=True)
    assert found["p"] == row(accuracy.table1(evidence(tmp_path)), "Banking-77", "RoBERTa-base")["p"]


def test_a_run_without_a_hard_sample(tmp_path: Path) -> None:
    write_seeds(tmp_path, [0], model="roberta", hard=[])
    table = accuracy.table2(evidence(tmp_path))
    found = row(table, "Banking-77", "RoBERTa-base")
    assert (found["hard, ours"], found["origin, ours"], found["gain, ours"]) == ("0.00", "–", "–")
    assert "Banking-77, RoBERTa-base: no test sample is hard." in table.notes


def test_tsec_has_tables_of_its_own(tmp_path: Path) -> None:
    write_seeds(tmp_path, [0, 1], model="bert", dataset="tsec3")
    ours = evidence(tmp_path)
    assert row(accuracy.table6(ours), "TSEC", "BERT-base")["rerank, ours"] == "83.00 ± 0.00"
    assert row(accuracy.table7(ours), "TSEC", "BERT-base")["hard, paper"] == "25.07"
    assert "TSEC" not in [one.title for one in accuracy.table1(ours).sections]
    assert row(similarity.table4(ours), "TSEC", "BERT-base")["similarity, ours"] == "75.00 ± 0.00"


def test_what_was_not_run_and_what_does_not_apply(tmp_path: Path) -> None:
    write_failure(tmp_path / "seed0", "model=hldic needs labels on two levels", dataset="banking77", model="hldic")
    for builder, dash, column in (
        (accuracy.table1, "AP-HAN", "origin, ours"),
        (accuracy.table2, "HLDIC", "hard, ours"),
        (semantic_mapping.table3, "HLDIC", "ours"),
    ):
        table = builder(evidence(tmp_path))
        assert row(table, "Banking-77", "BERT-base")[column] == "not run"
        assert row(table, "Banking-77", dash)[column] == "does not apply"
        assert "Banking-77, HLDIC: does not apply: HLDIC needs labels on two levels." in table.notes


def test_failures_are_counted_and_told(tmp_path: Path) -> None:
    write_seeds(tmp_path / "bert", [0, 1, 3, 4], model="bert")
    write_failure(tmp_path / "bert" / "seed2", "the GPU's memory is too small.", model="bert", seed=2)
    for seed in (0, 1):
        write_failure(tmp_path / "llama2" / f"seed{seed}", f"no weights {seed}", model="llama2", seed=seed)
    table = accuracy.table1(evidence(tmp_path))
    assert row(table, "Banking-77", "BERT-base")["seeds"] == "4 (0, 1, 3, 4)"
    assert "Banking-77, BERT-base: 1 of 5 seeds failed: seed 2: the GPU's memory is too small." in table.notes
    assert row(table, "Banking-77", "Llama2-7B (QLoRA)")["rerank, ours"] == "failed"
    note = "Banking-77, Llama2-7B (QLoRA): 2 of 2 seeds failed: seed 0: no weights 0; seed 1: no weights 1."
    assert note in table.notes


def test_half_of_the_folders_may_be_deleted(ablation: Path) -> None:
    for folder in sorted(ablation.rglob("seed*"))[::2]:
        shutil.rmtree(folder)
    ours = evidence(ablation)
    for builder in BUILDERS:
        table = builder(ours)
        assert markdown.render(table)
        assert latex.render(table)
    table = semantic_mapping.table3(ours)
    assert row(table, "Banking-77", "minilm")["seeds"] == "3 (0, 2, 4)"
    assert row(table, "Banking-77", "minilm × triplets")["seeds"] == "2 (1, 3)"
    assert "Banking-77, minilm: seeds 1, 3 are missing." in table.notes
    assert "Banking-77, minilm × triplets: seeds 0, 2, 4 are missing." in table.notes
    assert "Banking-77, minilm × triplets: it has no seed in common with the runs in full." in table.notes
    shutil.rmtree(ablation / "full")
    table = semantic_mapping.table3(evidence(ablation))
    assert row(table, "Banking-77", "minilm")["ours"] == "not run"
    assert row(table, "Banking-77", "minilm × triplets")["ours"] == percent([0.81] * 2)
    assert row(table, "Banking-77", "minilm × triplets")["change from full, ours"] == "not run"


def test_predictions_that_are_missing_leave_the_figures_and_take_the_p(tmp_path: Path) -> None:
    write_seeds(tmp_path, [0, 1], model="bert", predicted=False)
    table = accuracy.table1(evidence(tmp_path))
    found = row(table, "Banking-77", "BERT-base")
    assert (found["gain, ours"], found["p"], found["95 % interval"]) == ("+3.50 ± 0.71", "–", "–")
    (note,) = [note for note in table.notes if "cannot be told" in note]
    assert note.endswith("no predictions.jsonl of seeds 0, 1; McNemar's p of each seed: 0.250, 0.125.")


def test_the_ablation(ablation: Path) -> None:
    table = semantic_mapping.table3(evidence(ablation))
    full = row(table, "Banking-77", "minilm")
    batch, shelf = row(table, "Banking-77", "minilm × triplets"), row(table, "Banking-77", "minilm × fine-tuning")
    assert [one["ours"] for one in (full, batch, shelf)] == ["83.00 ± 0.00", "81.00 ± 0.00", "60.00 ± 0.00"]
    assert [one["change from full, ours"] for one in (full, batch, shelf)] == ["", "-2.00 ± 0.00", "-23.00 ± 0.00"]
    assert [one["p of change"] for one in (full, batch, shelf)] == ["", "0.500", "<0.001"]
    assert [one["embedding"] for one in (full, batch, shelf)] == [
        "minilm, all",
        "minilm, batch",
        "minilm, off the shelf",
    ]
    assert shelf["gain over origin, ours"] == "-19.60 ± 0.55"
    bert = row(table, "Banking-77", "BERT-base × triplets")
    assert (bert["paper"], bert["change from full, paper"], bert["ours"]) == ("93.54", "-0.12", "not run")


def test_tables_of_accuracy_are_about_the_method_in_full(ablation: Path) -> None:
    table = accuracy.table1(evidence(ablation))
    assert row(table, "Banking-77", "minilm")["rerank, ours"] == "83.00 ± 0.00"
    shutil.rmtree(ablation / "full")
    assert "minilm" not in names(accuracy.table1(evidence(ablation)), "Banking-77")


def test_ablations_stand_below_the_configuration_they_belong_to(ablation: Path) -> None:
    write_seeds(ablation / "full2", SEEDS, reranker__power=2.0)
    write_seeds(ablation / "shelf2", SEEDS, reranker__power=2.0, embedding__finetune=False)
    write_seeds(ablation / "shelf3", SEEDS, reranker__power=3.0, embedding__finetune=False)
    table = semantic_mapping.table3(evidence(ablation))
    one, two = "minilm (reranker.power=1.0)", "minilm (reranker.power=2.0)"
    assert names(table, "Banking-77")[-9:] == [
        *(one, f"{one} × triplets", f"{one} × fine-tuning"),
        *(two, f"{two} × triplets", f"{two} × fine-tuning"),
        *("minilm", "minilm × triplets", "minilm × fine-tuning"),
    ]
    assert row(table, "Banking-77", f"{two} × triplets")["ours"] == "not run"
    assert row(table, "Banking-77", "minilm × fine-tuning")["ours"] != "not run"


def test_similarity_against_the_classifier(tmp_path: Path) -> None:
    write_seeds(tmp_path, [0, 1], model="roberta")
    ours = evidence(tmp_path)
    found = row(similarity.table4(ours), "Banking-77", "RoBERTa-base")
    assert [found[f"{column}, paper"] for column in ("similarity", "classifier", "difference")] == [
        "93.39",
        "93.45",
        "+0.06",
    ]
    assert [found[f"{column}, ours"] for column in ("similarity", "classifier", "difference")] == [
        *("75.00 ± 0.00", "79.50 ± 0.71", "+4.50 ± 0.71")
    ]
    assert found["p"] == probability(metrics.sign_flip_test([answers(75)] * 2, [answers(80), answers(79)]))
    easy = row(similarity.table5(ours), "Banking-77", "RoBERTa-base")
    assert (easy["similarity, ours"], easy["classifier, ours"], easy["p"]) == (
        "100.00 ± 0.00",
        "100.00 ± 0.00",
        "1.000",
    )


def test_configurations_of_one_classifier_are_rows_of_their_own(tmp_path: Path) -> None:
    write_seeds(tmp_path / "one", [0], model="bert")
    write_seeds(
        tmp_path / "two", [0], model="bert", model__lr=2e-5, model__epochs=30, reranker__k=5, rerank=answers(90)
    )
    table = accuracy.table1(evidence(tmp_path))
    found = [row(table, "Banking-77", f"BERT-base ({name})") for name in ("one", "two")]
    assert [one["rerank, ours"] for one in found] == ["83.00", "90.00"]
    assert [one["rerank, paper"] for one in found] == ["93.66", "93.66"]
    assert "Banking-77, BERT-base (two): model.epochs=30, model.lr=2e-05, reranker.k=5." in table.notes


def test_other_amounts_of_data_than_the_papers_are_told(tmp_path: Path) -> None:
    write_seeds(tmp_path / "a", [0, 1], model="bert", dataset="iflytek119", sizes=(3712, 2599))
    write_seeds(tmp_path / "b", [0, 1], model="bert", sizes=(8002, 300))
    notes = accuracy.table1(evidence(tmp_path)).notes
    assert "iFlyTek-119, BERT-base: trained on 3,712 samples (the paper: 12,133)." in notes
    assert "Banking-77, BERT-base: tested on 300 samples (the paper: 3,084)." in notes
    assert not [note for note in notes if "8,002" in note or "2,599" in note]


@pytest.mark.parametrize("builder", BUILDERS)
def test_every_row_has_a_cell_per_column_in_markdown_and_latex(ablation: Path, builder) -> None:
    table = builder(evidence(ablation))
    assert all(len(cells) == len(table.columns) for one in table.sections for cells in one.rows)
    rows = [line for line in markdown.render(table).splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {len(table.columns) + 1}
    text = latex.render(table)
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0].splitlines()
    lines = [line for line in body if line.endswith(r"\\") and "multicolumn" not in line]
    assert len(lines) == 1 + sum(len(one.rows) for one in table.sections)
    assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {len(table.columns) - 1}
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert rf"\label{{tab:lrsl{table.number}}}" in text


def test_what_latex_and_markdown_would_take_for_commands_is_shown_as_it_is() -> None:
    table = Table(1, "100 %", ["a_b", "p|q"], [Section("R&D", [["1 ± 2", "<0.001"]])], ["a #1 {x} ~^\\ $5 – σ²"])
    text = latex.render(table)
    assert r"a\_b & p\textbar{}q \\" in text
    assert r"1 $\pm$ 2 & $<$0.001 \\" in text
    assert r"\textit{R\&D}" in text
    assert r"\caption{100 \%.}" in text
    assert r"a \#1 \{x\} \textasciitilde{}\textasciicircum{}\textbackslash{} \$5 -- $\sigma$$^2$\par" in text
    assert "| a_b | p\\|q |" in markdown.render(table)
    assert "| 1 ± 2 | &lt;0.001 |" in markdown.render(table)


# Table 8


def test_data_sets_that_cannot_be_read_are_named_as_missing() -> None:
    table = sizes.table8(paper(), None)
    found = {cells[0]: dict(zip(table.columns, cells, strict=True)) for cells in table.sections[0].rows}
    assert list(found) == ["CMCC-34", "iFlyTek-119", "Banking-77", "TSEC", "telecom34"]
    assert found["CMCC-34"]["train / val / test, paper"] == "12,799 / 3,200 / 4,000"
    assert found["telecom34"]["train / val / test, ours"] == " / ".join(map(str, SIZES["small"].values()))
    assert found["telecom34"]["labels, ours"] == "34"
    for name in ("CMCC-34", "iFlyTek-119", "Banking-77", "TSEC"):
        assert found[name]["mean length, ours"] == "missing"
        note = f"{name}: missing: the environment variable LRSL_DATA_DIR names no folder of local copies."
        assert note in table.notes


def test_data_sets_in_the_folder_of_local_copies(tmp_path: Path) -> None:
    (tmp_path / "tsec").mkdir()
    kinds = {"negative": "so very bad", "neutral": "off to work", "positive": "so very good"}
    lines = "".join(f"{text} {n},{label}\n" for n in range(10) for label, text in kinds.items())
    for name in ("train", "test"):
        (tmp_path / "tsec" / f"{name}.csv").write_text("text,sentiment\n" + lines)
    card = sizes.card("tsec3", str(tmp_path))
    assert isinstance(card, DatasetCard)
    assert [split.samples for split in card.splits] == [24, 6, 30]
    assert card.length.mean == 4
    missing = sizes.card("banking77", str(tmp_path))
    assert isinstance(missing, str)
    assert "banking77/train.csv" in missing


def test_banking77_has_its_rows_and_not_its_lines(data_dir: Path) -> None:
    card = sizes.card("banking77", str(data_dir))
    assert isinstance(card, DatasetCard)
    assert [split.samples for split in card.splits] == [8002, 2001, 3080]


# the command


def test_the_command_prints_markdown(
    ablation: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LRSL_DATA_DIR", raising=False)
    assert main([str(ablation)]) == 0
    output = capsys.readouterr().out
    assert re.findall(r"^## Table (\d)", output, flags=re.MULTILINE) == list("12345678")
    assert "| minilm | – | 79.60 ± 0.55 | – | 83.00 ± 0.00 | – | +3.40 ± 0.55 |" in output


def test_the_command_writes_markdown_latex_and_the_tidy_table(
    ablation: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LRSL_DATA_DIR", raising=False)
    out = ablation / "out"
    assert main([str(ablation / "full"), str(ablation / "batch"), "--out", str(out)]) == 0
    expected = {f"table{number}.{ending}" for number in range(1, 9) for ending in ("md", "tex")} | {"runs.csv"}
    assert {path.name for path in out.iterdir()} == expected
    assert len((out / "runs.csv").read_text().splitlines()) == 11
    assert "8 tables of 10 runs" in capsys.readouterr().out


def test_a_truncated_result_is_named_and_the_rest_is_rendered(
    ablation: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("LRSL_DATA_DIR", raising=False)
    path = ablation / "full" / "seed3" / "results.json"
    path.write_text(path.read_text()[:100])
    assert main([str(ablation)]) == 0
    assert str(path) in caplog.text
    output = capsys.readouterr().out
    assert "4 (0–2, 4)" in output
    assert "Banking-77, minilm: seed 3 is missing." in output


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_nothing_run_is_rendered_too(tmp_path: Path) -> None:
    for builder in BUILDERS:
        table = builder(evidence(tmp_path))
        assert "not run" in markdown.render(table)


def test_studies_do_not_load_torch() -> None:
    """Nothing in experiments/ but its benchmarks, its peers and what judges recorded runs again."""
    heavy = {"benchmarks", "peers", "rejudge.py"}
    files = [path for path in (ROOT / "experiments").rglob("*.py") if not heavy & {*path.parts}]
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files]
    assert "experiments.tables.__main__" in modules
    program = (
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "print([name for name in ('torch', 'transformers', 'pytorch_lightning', 'wandb') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_recorded_tables_are_those_of_the_recorded_runs() -> None:
    results = ROOT / "experiments" / "results"
    found = evidence(results)
    for build in BUILDERS:
        table = build(found)
        for render, ending in ((markdown.render, "md"), (latex.render, "tex")):
            assert (results / "tables" / f"table{table.number}.{ending}").read_text(encoding="utf-8") == render(table)


def test_answers_are_read_once(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "seed0")
    first = significance.answered(folder)
    assert first is not None
    assert len(first.ids) == N
    assert significance.answered(folder) is first
