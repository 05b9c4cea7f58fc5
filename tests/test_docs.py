"""The pages are true: the tutorial is typed as it stands, commands compose, Python runs."""

import contextlib
import io
import logging
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

import run
from lrsl import Reranker
from lrsl.commands.label_writer import FAULTS
from lrsl.config import composition

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
FLAGS = {"-m", "--help"}


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def commands(page, start):
    return [line for block in blocks(page, "bash") for line in block.splitlines() if line.startswith(start)]


COMPOSED = [
    line for page in PAGES for line in commands(page, "python run.py") if "--c" not in line and "mine." not in line
]


@pytest.mark.parametrize("command", sorted(set(COMPOSED)))
def test_commands_compose(command):
    arguments = [argument for argument in shlex.split(command)[2:] if argument not in FLAGS]
    parsed = OverridesParser.create().parse_overrides(arguments)
    first = [
        f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}"
        if override.is_sweep_override()
        else override.input_line
        for override in parsed
    ]
    with initialize_config_dir(str(composition.CONF), version_base="1.3"):
        composition.to_config(compose("config", first))
    assert any(override.is_sweep_override() for override in parsed) == ("-m" in command.split())


@pytest.fixture(scope="module")
def typed(tiny_corpus, tiny_bert, tmp_path_factory):
    """The tutorial's commands, typed in one folder with small networks; what each printed."""
    folder = tmp_path_factory.mktemp("tutorial")
    for name in ("train.csv", "test.csv"):
        (folder / name).write_bytes((tiny_corpus / name).read_bytes())
    (texts,) = blocks(DOCS / "tutorial.md", "yaml")
    given = dict(zip(("card", "cash"), yaml.safe_load(texts).values(), strict=True))
    (folder / "labels.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
    small = [f"{part}.pretrained={tiny_bert}" for part in ("model", "embedding")]
    small += ["model.epochs=1", "embedding.epochs=1", "trainer=cpu", "trainer.progress=false"]
    printed = {}
    for command in commands(DOCS / "tutorial.md", "python"):
        program, *arguments = shlex.split(command)[1:]
        start = [] if program == "run.py" else [program, arguments.pop(0)]
        arguments = ["seed=0,1" if argument == "seed=0,1,2" else argument for argument in arguments]
        if program == "run.py":
            printed[command] = in_this_process([*arguments, *small], folder)
            continue
        done = subprocess.run(
            [sys.executable, *start, *arguments], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        printed[command] = done.stdout
    return folder, printed


def in_this_process(arguments, folder):
    """Type arguments after run.py without waiting for imports again, and return what it printed."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["run.py", *arguments])
        patch.setenv("HYDRA_FULL_ERROR", "1")  # so that both are as they were afterwards
        patch.setenv("LRSL_SWEEP", "")
        assert run.main() == 0, arguments
    for handler in root.handlers[:]:
        if handler not in handlers:
            handler.close()
            root.removeHandler(handler)
    root.setLevel(level)
    return printed.getvalue()


def test_the_tutorials_commands_run_as_they_stand(typed):
    folder, printed = typed
    assert len(printed) == 4
    assert len(list((folder / "outputs").rglob("results.json"))) == 2  # with and without label texts
    assert len(list((folder / "multirun_outputs").rglob("results.json"))) == 2
    assert "±" in list(printed.values())[-1]


def test_the_tutorials_python_runs(typed, monkeypatch):
    monkeypatch.chdir(typed[0])
    (example,) = blocks(DOCS / "tutorial.md", "python")
    exec(compile(example, "tutorial.md", "exec"), {})


def test_what_is_done_with_hard_samples_runs(tiny_bert):
    abstaining, sets, deferring = blocks(DOCS / "how-to" / "hard-samples.md", "python")
    generator = torch.Generator().manual_seed(0)
    names = {"label_texts": ["card", "cash", "loan"], "val_labels": [row % 3 for row in range(60)]}
    names["texts"] = names["val_texts"] = [["card", "cash", "loan"][row % 3] for row in range(60)]
    names["logits"] = names["val_logits"] = torch.randn(60, 3, generator=generator)

    def typed(block):
        exec(compile(re.sub('"sent.*?"', repr(str(tiny_bert)), block, count=1), "hard-samples.md", "exec"), names)
        return names["reranker"].is_hard(names["logits"])

    hard = typed(abstaining)
    assert 0 < hard.sum() < 60
    assert torch.equal(names["answers"] == -1, hard)
    typed(deferring)
    assert torch.equal(names["answers"][~hard], names["logits"].argmax(-1)[~hard])
    pytest.importorskip("crepes")
    typed(sets)
    assert (names["sets"].sum(-1)[~hard] == 1).all()
    held = names["sets"][torch.arange(60), torch.tensor(names["val_labels"])][hard]
    assert held.double().mean() > 0.6


def test_the_detector_of_the_how_to_works(tiny_bert):
    detector, handed_over = blocks(DOCS / "how-to" / "your-seams.md", "python")
    names = {"label_texts": ["card", "cash", "loan"], "Reranker": Reranker}
    exec(compile(detector, "your-seams.md", "exec"), names)
    exec(compile(re.sub('".*?"', repr(str(tiny_bert)), handed_over, count=1), "your-seams.md", "exec"), names)
    logits = torch.tensor([[3.0, 1.0, 0.0], [2.0, 1.5, 0.0], [0.0, 4.0, 3.5]])
    fitted = names["reranker"].fit(logits, [0, 1, 1], ["card", "cash", "cash"])
    assert fitted.is_hard(logits).tolist() == [False, False, False]  # none below the energy of the only mistake
    assert fitted.is_hard(torch.tensor([[1.0, 0.9, 0.0]])).tolist() == [True]


def test_label_texts_by_a_language_model_are_as_told():
    page = (DOCS / "how-to" / "your-data.md").read_text(encoding="utf-8")
    names = {"Banking-77": "banking77", "TSEC-3": "tsec3", "Telecom-34": "telecom34"}
    faults = [FAULTS[fault] for fault in ("echo", "worse", "loop")]
    rows = re.findall(r"^\| (\w+-\d+)[^|]*\| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|", page, flags=re.MULTILINE)
    assert {row[0] for row in rows} == set(names)
    for name, answers, *counts, taken in rows:
        text = (ROOT / "experiments" / "label_texts" / f"{names[name]}-smollm2.yaml").read_text(encoding="utf-8")
        assert len(yaml.safe_load(text)) == int(answers)
        assert [text.count(f"# {fault}, so") for fault in faults] == [int(count) for count in counts]
        assert int(taken) == int(answers) - sum(int(count) for count in counts)
