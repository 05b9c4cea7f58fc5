"""Runs that several processes compute find what one finds, and no process outlives another that fails."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import several
import torch
from forked import forked
from safetensors.torch import load_file
from several import ENVIRONMENT, ROOT, followers, results

from lrsl.run.store import MANIFEST, key_of

EXACT = ("model.dropout=0", "model.encoder_dropout=0", "embedding.encoder_dropout=0")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return several.write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def words(corpus, tiny_bert):
    return several.words(corpus, tiny_bert)


@pytest.fixture
def typed(warm, words, tmp_path):
    """A function that types the command with more words for so many processes, which are there as with torchrun."""

    def typed(processes, *more):
        start = ["-m", "lrsl"] if processes == 1 else forked(processes, "lrsl.commands.main")
        return warm(*start, *words, f"trainer.devices={processes}", *more, cwd=tmp_path, env=ENVIRONMENT)

    return typed


def comparable(folder):
    """Return what a run has found, without what says how it was computed."""
    how = ("seconds", "threads", "configuration")
    return {key: value for key, value in results(folder).items() if key not in how}


def graft(store, other, processes):
    """Put what one process has trained into a store as what so many would have trained."""
    for stage in ("classifier", "embedding"):
        (place,) = [path.parent for path in store.glob(f"{stage}/*/{MANIFEST}")]
        made_of = json.loads((place / MANIFEST).read_text())["made_of"]
        made_of["devices"][0] = processes
        shutil.copytree(place, other / stage / key_of(made_of))


def same_training(one, of_several):
    """Hold what one process has trained against what several have trained, but for how sums round."""
    scores, others = (load_file(folder / "scores.safetensors") for folder in (one, of_several))
    assert scores.keys() == others.keys()
    for name, values in scores.items():  # scores of views are kept in float16
        within = {"atol": 1e-5} if name.endswith("logits") else {"rtol": 2e-3, "atol": 1e-3}
        assert torch.allclose(values, others[name], equal_nan=True, **within), name
    found, again = comparable(one), comparable(of_several)
    assert again["sigma2_mis"] == pytest.approx(found["sigma2_mis"], rel=1e-5)
    assert [again[name] for name in ("origin", "rerank")] == [found[name] for name in ("origin", "rerank")]


@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_find_what_one_finds_with_its_weights(typed, tmp_path, processes):
    assert typed(1).returncode == 0
    graft(tmp_path / "store", tmp_path / "other", processes)
    done = typed(processes, "hydra.run.dir=several", "cache_dir=other")
    assert done.returncode == 0, done.stderr
    assert "epoch" not in done.stdout  # nothing was trained
    assert comparable(tmp_path / "several") == comparable(tmp_path / "out")
    assert (tmp_path / "several" / "predictions.jsonl").read_bytes() == (
        tmp_path / "out" / "predictions.jsonl"
    ).read_bytes()


@pytest.mark.parametrize("negatives", ["confused", "batch"])
@pytest.mark.parametrize("processes", [2, 3])
def test_without_dropout_several_processes_train_what_one_trains(typed, tmp_path, processes, negatives):
    exact = (*EXACT, f"embedding.negatives={negatives}")
    for number in (1, processes):
        done = typed(number, f"hydra.run.dir={number}", f"cache_dir=store{number}", *exact)
        assert done.returncode == 0, done.stderr
    same_training(tmp_path / "1", tmp_path / str(processes))


def test_a_sweep_gives_each_run_to_the_same_processes_and_goes_on_when_one_fails(typed, tmp_path):
    more = ("hydra.sweep.dir=sweep", "model.epochs=1", "embedding.epochs=1")
    done = typed(2, *more, "seed=0,1", "reranker.k=3,9", "-m")  # nine of four labels cannot be
    assert done.returncode == 1
    lines = [
        json.loads(line)
        for path in (tmp_path / "sweep" / "sweeps").glob("*/runs.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert [line["status"] for line in lines].count("finished") == 2
    assert all("it must be at most 4" in line["error"] for line in lines if line["status"] == "failed")
    again = typed(2, *more, "seed=0,1", "-m")
    assert again.returncode == 0
    assert again.stdout.count("already finished") == 2


def test_folds_and_a_second_classifier_are_computed_by_all(typed, tmp_path):
    more = ("reranker.folds=2", "reranker.control=true", "model.epochs=1", "embedding.epochs=1", "cache=off")
    done = typed(2, *more)
    assert done.returncode == 0, done.stderr
    found = results(tmp_path / "out")
    assert (found["folds"], found["status"]) == (2, "finished")
    left = {path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")}
    assert left <= {".hydra"}  # the store that lasted as long as the run is gone


@pytest.fixture
def started(words, tmp_path):
    """A function that starts the command and returns when it prints something; after the test it is ended."""
    processes = []

    def started(*more, until, env=None):
        log = tmp_path / "log"
        with log.open("wb") as out, (tmp_path / "errors").open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "lrsl", *words, *more],
                cwd=tmp_path,
                env={**ENVIRONMENT, **(env or {})},
                stdout=out,
                stderr=errors,
            )
        processes.append(process)
        while until not in log.read_text():
            assert process.poll() is None, (tmp_path / "errors").read_text()
            time.sleep(0.05)
        return process

    yield started
    for process in processes:
        process.kill()
        process.wait()


def gone(folder, seconds=60):
    """Wait until no process is left that was started for a run in a folder."""
    late = time.monotonic() + seconds
    while followers(folder):
        assert time.monotonic() < late, "a process is still there"
        time.sleep(0.1)


@pytest.mark.parametrize("stage", ["classifier", "embedding"])
def test_the_run_ends_when_a_process_is_killed_and_goes_on_afterwards(started, warm, words, tmp_path, stage):
    long = ("trainer.devices=3", "model.epochs=3", "model.patience=99", "embedding.epochs=60", "embedding.patience=99")
    process = started(*long, until=f"{stage}, epoch 1/")
    os.kill(followers(tmp_path)[0], signal.SIGKILL)
    assert process.wait(timeout=100) == 1
    told = (tmp_path / "errors").read_text().splitlines()
    assert "of 3 failed: it was ended by SIGKILL, perhaps for lack of memory" in told[0]
    gone(tmp_path)
    assert results(tmp_path / "out")["status"] == "failed"
    assert len(told) == 1
    done = warm("-m", "lrsl", *words, *long, "embedding.epochs=1", cwd=tmp_path, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert ("classifier, epoch 1/" in done.stdout) == (stage == "classifier")  # the other is in the store


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_the_one_that_leads(started, tmp_path, number):
    process = started("trainer.devices=3", "model.epochs=90", "model.patience=99", until="classifier, epoch 1/")
    assert len(followers(tmp_path)) == 2
    process.send_signal(number)
    process.wait(timeout=100)
    gone(tmp_path)


def test_what_fails_in_one_process_ends_all_with_its_reason(started, tmp_path):
    own = tmp_path / "own_rule.py"
    own.write_text(
        "import os\nfrom lrsl import Sigma2Mis\n\n\nclass Fails(Sigma2Mis):\n    def fit(self, *arguments):\n"
        "        if os.environ.get('RANK') == '1':\n            raise OSError('the disk is on fire')\n"
        "        return super().fit(*arguments)\n"
    )
    process = started(
        "trainer.devices=2",
        "reranker.threshold._target_=own_rule.Fails",
        until="reading tiny",
        env={"PYTHONPATH": f"{ROOT}:{tmp_path}"},
    )
    assert process.wait(timeout=200) == 1
    assert (tmp_path / "errors").read_text() == "process 2 of 2 failed: OSError: the disk is on fire\n"
    gone(tmp_path)


def test_torchrun_starts_processes(words, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, str(ROOT / "run.py"), *words[1:], "model.epochs=1", "embedding.epochs=1"]
    kept = {"cwd": tmp_path, "env": ENVIRONMENT, "capture_output": True, "text": True}
    wrong = subprocess.run(command, check=False, **kept)
    assert wrong.returncode == 1
    assert "set trainer.devices=2 trainer.num_nodes=1" in wrong.stderr
    done = subprocess.run([*command, "trainer.devices=2"], check=False, **kept)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("σ²_mis =") == 1
    assert results(tmp_path / "out")["status"] == "finished"
