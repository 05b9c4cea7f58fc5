import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from lrsl.config.schema import DatasetConfig
from lrsl.data import Corpus, load_corpus
from lrsl.errors import InputError

YAML = Path(__file__).parents[2] / "conf" / "dataset" / "tsec3.yaml"
LABELS = ["negative", "neutral", "positive"]


def config(**keys: Any) -> DatasetConfig:
    made = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(DatasetConfig), OmegaConf.load(YAML).dataset, keys))
    assert isinstance(made, DatasetConfig)
    return made


def load(data_dir: Path, **keys: Any) -> Corpus:
    return load_corpus(config(**keys), str(data_dir))


def write_competition(folder: Path) -> None:
    (folder / "tsec").mkdir(exist_ok=True)
    for name, extra in (("train", "314,,,neutral\n"), ("test", "")):
        selected = ",selected_text" if name == "train" else ""
        rows = [f'{i},"oh, {name} {i}"{",oh" if selected else ""},{LABELS[i % 3]}\n' for i in range(9)]
        (folder / "tsec" / f"{name}.csv").write_text(f"textID,text{selected},sentiment\n{''.join(rows)}{extra}")


def write_mirror(folder: Path) -> None:
    (folder / "tsec").mkdir(exist_ok=True)
    for name in ("train", "test"):
        rows = [{"id": str(i), "text": f"{name} {i}", "label": i % 3, "label_text": LABELS[i % 3]} for i in range(6)]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "tsec" / f"{name}.jsonl").write_text(text)


def test_the_competitions_form(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_competition(tmp_path)
    corpus = load(tmp_path)
    assert corpus.labels == LABELS
    assert [len(split) for split in (corpus.train, corpus.val, corpus.test)] == [7, 2, 9]
    assert corpus.test.texts[0] == "oh, test 0"
    assert caplog.messages == [
        f"{tmp_path}/tsec/train.csv: 1 record with an empty text dropped, the first at {tmp_path}/tsec/train.csv:11"
    ]


def test_the_mirrors_form_when_it_is_the_one_there_or_asked_for(tmp_path: Path) -> None:
    write_mirror(tmp_path)
    corpus = load(tmp_path)
    assert corpus.labels == LABELS
    assert corpus.test.texts[:2] == ["test 0", "test 1"]
    write_competition(tmp_path)
    assert len(load(tmp_path).test) == 9
    assert load(tmp_path, form="mirror").fingerprint() == corpus.fingerprint()


def test_a_users_own_files_go_before_the_forms(tmp_path: Path) -> None:
    write_mirror(tmp_path)
    keys = {"train": "tsec/train.jsonl", "test": "tsec/train.jsonl", "label": "label_text"}
    assert load(tmp_path, **keys).test.texts[0] == "train 0"
    with pytest.raises(InputError, match=r"^dataset\.train is not set"):
        load(tmp_path, test="tsec/test.jsonl")


def test_no_form_is_there(tmp_path: Path) -> None:
    (tmp_path / "tsec").mkdir()
    (tmp_path / "tsec" / "train.csv").write_text("text,sentiment\n")
    with pytest.raises(InputError) as caught:
        load(tmp_path)
    assert str(caught.value).endswith(
        f"nor in data_dir={tmp_path}; get them from "
        "https://www.kaggle.com/competitions/tweet-sentiment-extraction/data and give "
        "data_dir=FOLDER, a folder that holds tsec/train.csv and tsec/test.csv, or the files of another of "
        "dataset.forms: mirror"
    )


def test_a_form_that_is_asked_for_and_missing_says_which_file(tmp_path: Path) -> None:
    write_competition(tmp_path)
    with pytest.raises(InputError, match=r"^dataset\.train=tsec/train\.jsonl is no file"):
        load(tmp_path, form="mirror")


@pytest.mark.parametrize(
    ("keys", "said"),
    [({"form": "mirrow"}, "dataset.form=mirrow is unknown; use one of competition, mirror; did you mean 'mirror'?"),
     ({"forms": {"mine": {"lable": "x"}}}, "dataset.forms.mine.lable is no key of a dataset; a form holds keys such as "
      "train, test and label; did you mean 'label'?")],
)  # fmt: skip
def test_a_wrong_form_is_named(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        config(**keys)
    assert str(caught.value) == said


def test_the_label_texts_are_descriptions(tmp_path: Path) -> None:
    write_competition(tmp_path)
    texts = load(tmp_path).label_texts
    assert all(len(text.split()) >= 12 and "\n" not in text for text in texts)
    assert len({text.split(":")[0] for text in texts}) == 3


def test_the_real_files(data_dir: Path) -> None:
    corpus = load(data_dir)
    assert (len(corpus.train) + len(corpus.val), len(corpus.test)) == (27_480, 3_534)
    assert corpus.labels == LABELS
    assert {len(corpus.train), len(corpus.val)} == {21_984, 5_496}


def test_a_stray_mark_is_told_and_compressed_files_are_read(tmp_path: Path) -> None:
    write_competition(tmp_path)
    keys = {"train": "tsec/train.csv.gz", "test": "tsec/test.csv.gz", "download": {}, "label": "sentiment"}
    for name in ("train", "test"):
        path = tmp_path / "tsec" / f"{name}.csv"
        (tmp_path / "tsec" / f"{name}.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert load(tmp_path, **keys).fingerprint() == load(tmp_path).fingerprint()
    train = tmp_path / "tsec" / "train.csv"
    train.write_text(train.read_text() + '77,"so,so,neutral\n78,well",well,negative\n')
    with pytest.raises(InputError, match=r"train\.csv:12 opens a field with a quotation mark that is closed on li"):
        load(tmp_path)
