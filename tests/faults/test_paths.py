"""Names from others never lead out of their folder, and what is no path is a sentence."""

import csv
import json
from pathlib import Path

import pytest
import tiny

from lrsl.config.identity import file_name
from lrsl.config.schema import DatasetConfig, DownloadConfig
from lrsl.data import Corpus, Split, load_corpus
from lrsl.data.fetch import available, locate
from lrsl.data.leaderboard import write_leaderboard
from lrsl.errors import InputError
from lrsl.paths import is_file, is_folder, is_name, leaves

OUTSIDE = [
    "../x.json",
    "../../../x.json",
    "/tmp/x.json",
    "a/../../x.json",
    "C:\\x.json",
    "..\\x.json",
    "\\\\host\\x.json",
]
NO_NAMES = [
    *OUTSIDE,
    "a/x.json",
    "a\\x.json",
    "",
    ".",
    "..",
    ".hidden.json",
    "~/x.json",
    "a\0.json",
    "a\n.json",
    "x" * 300,
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_leads_out_is_known(name):
    assert leaves(name)
    assert not is_name(name)


@pytest.mark.parametrize("name", ["a.csv", "a/b.csv", "a/..b/c.csv", "é.csv", "a b.csv"])
def test_what_stays_inside_is_known(name):
    assert not leaves(name)


@pytest.mark.parametrize("name", [*NO_NAMES, "results.json", "config.json", "predictions.jsonl", "wandb", "embedding"])
def test_a_leaderboard_is_a_name_in_the_runs_folder(name):
    with pytest.raises(InputError, match=r"dataset\.leaderboard=.* is no name for that file|go together") as caught:
        DatasetConfig(unlabelled="u.jsonl", leaderboard=name)
    assert len(str(caught.value)) < 600
    assert DatasetConfig(unlabelled="u.jsonl", leaderboard="iflytek_predict.json").leaderboard


@pytest.mark.parametrize("name", [*OUTSIDE, ""])
def test_what_is_fetched_stays_in_its_folder(name):
    download = {name: DownloadConfig("https://example.org/x", "0" * 64)}
    with pytest.raises(InputError, match="which would lie outside the folder of what is fetched"):
        DatasetConfig(download=download)
    assert DatasetConfig(download={"mine/a.csv": DownloadConfig("https://example.org/x", "0" * 64)}).download


def test_a_leaderboard_is_not_written_through_a_link(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    run = tmp_path / "run"
    run.mkdir()
    for name in ("predict.json", "predict.json.partial"):
        (run / name).symlink_to(elsewhere)
    one = Split(["0"], ["a"], [-1])
    write_leaderboard(run / "predict.json", Corpus("c", ["a"], ["a"], one, one, one, unlabelled=one), [0])
    assert elsewhere.read_text() == "mine"
    assert (run / "predict.json").read_text() == '{"id": 0, "label": "a"}\n'
    assert not (run / "predict.json").is_symlink()


@pytest.mark.parametrize(
    "name", ["..", ".", "../../x", "/etc", "a\0b", "\ud800", "x" * 500, "", "C:\\x", "a/b", "\x1b[2J"]
)
def test_a_name_becomes_a_folder_beside_others(tmp_path, name):
    made = file_name(name)
    assert (tmp_path / made).resolve().parent == tmp_path.resolve()
    assert made not in (".", "..")
    (tmp_path / made).mkdir()


NO_PATHS = ["x" * 5000, "/" + "y/" * 2500, "a\0b", "~nobody-of-that-name/x", "\ud800", "x" * 300]


@pytest.mark.parametrize("name", NO_PATHS)
def test_a_path_that_none_can_be_is_not_there(name):
    assert not is_file(Path(name))
    assert not is_folder(Path(name))
    assert not available(name, None, {})
    assert not available("train.csv", name, {})
    with pytest.raises(InputError, match="is no file in the working directory") as caught:
        locate("dataset.train", name, None, {})
    assert len(str(caught.value)) < 400
    for keys in ({"train": name}, {"train": "a.csv", "label_texts": name}):
        with pytest.raises(InputError) as caught:
            load_corpus(DatasetConfig(**keys), name)
        assert len(str(caught.value)) < 700
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("command", ["report", "replay", "tables", "figures", "record", "store", "card", "label-texts"])
@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "/" + "y" * 4000])
def test_no_command_shows_a_traceback_for_a_path_that_is_none(command, name, capsys, monkeypatch, tmp_path):
    from lrsl.commands import main

    monkeypatch.chdir(tmp_path)
    typed = {
        "record": ["record", name, "mine"],
        "store": ["store", "--dir", name, "list"],
        "card": ["card", "dataset=custom", f"dataset.train='{name}'"],
        "label-texts": ["label-texts", "dataset=custom", f"dataset.train='{name}'"],
    }.get(command, [command, name])
    try:
        status = main.main(typed)
    except SystemExit as error:
        status = error.code
    shown = capsys.readouterr()
    assert status != 0 or command == "store"
    assert "Traceback" not in shown.err
    assert len(shown.err) < 2500  # argparse shows its usage, too


def test_a_saved_data_set_reads_no_file_outside_it(tmp_path):
    from lrsl.data.arrow import read_saved_dataset

    (tmp_path / "outside.arrow").write_bytes(b"")
    folder = tmp_path / "saved"
    folder.mkdir()
    for name in ("../outside.arrow", str(tmp_path / "outside.arrow"), "..", ".hidden", "a\0b"):
        (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
        with pytest.raises(InputError, match=r"cannot be read|names no file of data"):
            read_saved_dataset(folder)


def test_ordinary_names_go_on_working(tmp_path):
    tiny.write_csv(tmp_path / "a b,c.csv", 20, 1)
    with (tmp_path / "a b,c.csv").open(encoding="utf-8") as file:
        assert next(csv.reader(file)) == ["text", "label"]
    assert len(load_corpus(DatasetConfig(train="a b,c.csv", carve_test=True), str(tmp_path)).labels) == 4
