import gzip
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from lrsl.config.schema import DatasetConfig
from lrsl.data import Corpus, load_corpus
from lrsl.data.leaderboard import write_leaderboard
from lrsl.errors import InputError

YAML = Path(__file__).parents[2] / "conf" / "dataset" / "iflytek119.yaml"
NAMES = {"0": "打车", "1": "地图导航", "10": "社区服务"}


def load(data_dir: Path, **keys: Any) -> Corpus:
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(DatasetConfig), OmegaConf.load(YAML), keys))
    assert isinstance(config, DatasetConfig)
    return load_corpus(config, str(data_dir))


def write(path: Path, *records: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")


def sentences(what: str, number: Any = str) -> list[dict[str, Any]]:
    return [
        {"label": number(label), "label_des": name, "sentence": f"{what}{name}{i}"}
        for label, name in NAMES.items()
        for i in range(3)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """CLUE's files and FewCLUE's, small; the dev set's sentences are among the latter."""
    clue, fewclue = tmp_path / "iflytek119" / "clue", tmp_path / "iflytek119" / "fewclue"
    write(clue / "train.json", *sentences("训练"))
    write(clue / "dev.json", *sentences("开发"))
    write(clue / "test.json", *({"id": i, "sentence": f"测试{i}"} for i in range(4)))
    write(fewclue / "train_few_all.json", *sentences("少", int), *sentences("开发", int)[:2])
    write(fewclue / "dev_few_all.json", *sentences("开发", int))
    write(fewclue / "test_public.json", *sentences("公开", int))
    return tmp_path


def test_clues_files(folder: Path) -> None:
    corpus = load(folder)
    assert (corpus.labels, corpus.label_texts) == (["0", "1", "10"], ["打车", "地图导航", "社区服务"])
    assert [len(split) for split in (corpus.train, corpus.val, corpus.test)] == [7, 2, 9]
    assert corpus.test.texts[0] == "开发打车0"
    assert corpus.unlabelled is not None
    assert (corpus.unlabelled.ids, corpus.unlabelled.texts[3]) == (["0", "1", "2", "3"], "测试3")
    assert corpus.unlabelled.labels == [-1] * 4


def test_fewclue_in_place_of_train(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    corpus = load(folder, train="fewclue")
    assert len(corpus.train) + len(corpus.val) == 18
    assert not {*corpus.train.texts, *corpus.val.texts} & set(corpus.test.texts)
    assert len({*corpus.train.ids, *corpus.val.ids}) == 18
    assert caplog.messages == [
        "iflytek119: trains on 18 few-shot sentences of FewCLUE in place of CLUE's train; "
        "11 more, held out, are left out"
    ]
    assert caplog.records[0].levelno == logging.WARNING


def test_without_train_the_other_way_is_named(folder: Path) -> None:
    (folder / "iflytek119" / "clue" / "train.json").unlink()
    with pytest.raises(InputError) as caught:
        load(folder)
    assert str(caught.value).startswith("dataset.train=iflytek119/clue/train.json is no file in the working directory ")
    assert str(caught.value).endswith("(data_dir/iflytek119/fewclue/) with dataset.train=fewclue")


def test_without_fewclue_its_file_is_named(folder: Path) -> None:
    (folder / "iflytek119" / "fewclue" / "dev_few_all.json").unlink()
    with pytest.raises(
        InputError, match=r"^dataset\.train=fewclue, of which=iflytek119/fewclue/dev_few_all\.json is no"
    ):
        load(folder, train="fewclue")


def test_sentences_that_are_all_held_out(folder: Path) -> None:
    for name in ("train_few_all", "test_public"):
        write(folder / "iflytek119" / "fewclue" / f"{name}.json", *sentences("开发", int))
    with pytest.raises(InputError, match=r"so dataset\.train=fewclue has nothing to train on"):
        load(folder, train="fewclue")


def test_a_label_has_one_text(folder: Path) -> None:
    write(folder / "iflytek119" / "clue" / "dev.json", {"label": "0", "label_des": "出租车", "sentence": "叫车"})
    with pytest.raises(
        InputError, match=r"the label '0' has the text '打车' at .*train\.json:1 and the text '出租车' at "
    ):
        load(folder)


def test_without_the_unlabelled_texts_no_leaderboard_file(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "iflytek119" / "clue" / "test.json").unlink()
    assert load(folder).unlabelled is None
    assert caplog.messages == ["iflytek119/clue/test.json is not there, so no iflytek_predict.json will be written"]
    assert load(folder, unlabelled=None, leaderboard=None).fingerprint() == load(folder).fingerprint()


@pytest.mark.parametrize(
    ("record", "said"),
    [({"id": 3, "sentence": " "}, "test.json:2 has nothing in the column dataset.text=sentence, an empty text"),
     ({"id": 0, "sentence": "好"}, "test.json:2 has the id 0 again"),
     ({"id": 1}, "test.json:2 has no column 'sentence' (dataset.text); it has id")],
)  # fmt: skip
def test_a_wrong_unlabelled_text(folder: Path, record: dict[str, Any], said: str) -> None:
    write(folder / "iflytek119" / "clue" / "test.json", {"id": 0, "sentence": "第一"}, record)
    with pytest.raises(InputError) as caught:
        load(folder)
    assert said in str(caught.value)


def test_the_file_and_its_name_go_together(folder: Path) -> None:
    with pytest.raises(InputError, match=r"^dataset\.unlabelled and dataset\.leaderboard go together"):
        load(folder, leaderboard=None)


def test_the_leaderboards_file(folder: Path, tmp_path: Path) -> None:
    corpus = load(folder)
    write_leaderboard(tmp_path / "iflytek_predict.json", corpus, [2, 0, 1, 2])
    lines = (tmp_path / "iflytek_predict.json").read_text(encoding="utf-8").splitlines()
    assert lines[0] == '{"id": 0, "label": "10"}'
    assert [json.loads(line) for line in lines[1:]] == [
        {"id": 1, "label": "0"},
        {"id": 2, "label": "1"},
        {"id": 3, "label": "10"},
    ]
    with pytest.raises(ValueError, match="zip"):
        write_leaderboard(tmp_path / "x.json", corpus, [0])
    with pytest.raises(ValueError, match="has no unlabelled texts"):
        write_leaderboard(tmp_path / "x.json", load(folder, unlabelled=None, leaderboard=None), [])


def test_the_real_files(data_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    corpus = load(data_dir, train="fewclue")
    assert [len(split) for split in (corpus.train, corpus.val, corpus.test)] == [3712, 928, 2599]
    assert "trains on 4640 few-shot sentences" in caplog.text
    assert not {*corpus.train.texts, *corpus.val.texts} & set(corpus.test.texts)
    assert set(corpus.train.labels) == set(range(119))
    text = (data_dir / "iflytek119" / "clue" / "labels.json").read_text(encoding="utf-8")
    known = {record["label"]: record["label_des"] for record in map(json.loads, text.splitlines())}
    assert dict(zip(corpus.labels, corpus.label_texts, strict=True)) == known
    assert corpus.unlabelled is not None
    assert corpus.unlabelled.ids == [str(i) for i in range(2600)]


def test_compressed_files(folder: Path) -> None:
    clue = folder / "iflytek119" / "clue"
    for name in ("train", "dev"):
        (clue / f"{name}.json.gz").write_bytes(gzip.compress((clue / f"{name}.json").read_bytes()))
    compressed = load(folder, train="iflytek119/clue/train.json.gz", test="iflytek119/clue/dev.json.gz")
    assert compressed.fingerprint() == load(folder).fingerprint()
