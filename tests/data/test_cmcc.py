import csv
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from lrsl.config.schema import DatasetConfig
from lrsl.data import Corpus, Turn, load_corpus
from lrsl.data.cmcc import LABELS
from lrsl.errors import InputError

SAMPLE = Path(__file__).with_name("cmcc34_sample.txt")
YAML = Path(__file__).parents[2] / "conf" / "dataset" / "cmcc34.yaml"
HEADER = "calls/1.wav\t办理\t取消\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the calls."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "cmcc34").mkdir(parents=True)
    return tmp_path / "data" / "cmcc34"


def load(**keys: Any) -> Corpus:
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(DatasetConfig), OmegaConf.load(YAML), keys))
    assert isinstance(config, DatasetConfig)
    return load_corpus(config, "data")


def refused(**keys: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(**keys)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def records(spelling: Callable[[str, str], Any]) -> list[dict[str, Any]]:
    """The sample's calls, with their labels as a table may have them."""
    found = []
    for block in SAMPLE.read_text(encoding="utf-8").strip().split("\n\n"):
        header, *turns = block.split("\n")
        _, group, label = header.split("\t")
        found.append({"text": "[SEP]".join(turn[2:] for turn in turns), "label": spelling(group, label)})
    return found


def named(corpus: Corpus) -> list[str]:
    return [corpus.labels[label] for label in corpus.test.labels]


def test_the_raw_format_as_three_files(folder: Path) -> None:
    for name in ("train", "val", "test"):
        shutil.copy(SAMPLE, folder / f"{name}.txt")
    corpus = load()
    assert [len(split) for split in (corpus.train, corpus.val, corpus.test)] == [12, 12, 12]
    assert dict(zip(corpus.labels, corpus.groups or [], strict=True)) == {
        "业务规定": "咨询（含查询）",
        "取消": "办理",
        "费用问题": "投诉（含抱怨）",
        "账户信息": "咨询（含查询）",
        "销户/重开": "办理",
    }
    assert dict(zip(corpus.labels, corpus.label_texts, strict=True)) == {
        "业务规定": "咨询业务规定",
        "取消": "办理取消",
        "费用问题": "投诉费用问题",
        "账户信息": "咨询账户信息",
        "销户/重开": "办理销户、重开",
    }
    assert corpus.train.turns is not None
    assert corpus.train.turns[3] == [
        Turn("agent", "您好很高兴为您服务"),
        Turn("customer", "帮我把那个彩铃给取消了"),
        Turn("agent", "好的我现在帮您取消您稍等"),
        Turn("agent", "已经取消了下个月一号生效"),
        Turn("customer", "行谢谢"),
    ]
    assert corpus.train.texts[9] == "客服：您好请讲\n客户：帮我查一下还有多少话费\n客服：您当前余额是二十六块五"
    assert corpus.test.ids[0] == "test-0"
    assert corpus.labels[corpus.test.labels[11]] == "销户/重开"


def test_who_is_the_agent_can_be_said(folder: Path) -> None:
    shutil.copy(SAMPLE, folder / "cmcc34.txt")
    corpus = load(agent=2, customer=1)
    assert corpus.test.turns is not None
    assert {turns[0].speaker for turns in corpus.test.turns} == {"customer"}


@pytest.mark.parametrize("end", ["\r\n", "\n\n \t\n"])
def test_other_line_endings_and_more_blank_lines_are_the_same_calls(folder: Path, end: str) -> None:
    shutil.copy(SAMPLE, folder / "train.txt")
    calls = SAMPLE.read_text(encoding="utf-8").split("\n\n")
    text = "\n\n".join(calls).replace("\n", end) if end == "\r\n" else f"\n{end.join(calls)}\n\n"
    (folder / "test.txt").write_text("\ufeff" + text, encoding="utf-8", newline="")
    corpus = load(val="cmcc34/train.txt", train="cmcc34/train.txt", test="cmcc34/test.txt")
    assert corpus.test.texts == corpus.train.texts


def test_one_file_is_carved_into_three_and_single_samples_stay_in_train(folder: Path) -> None:
    shutil.copy(SAMPLE, folder / "cmcc34.txt")
    corpus = load()
    assert [len(split) for split in (corpus.train, corpus.val, corpus.test)] == [8, 2, 2]
    names = {*corpus.train.ids, *corpus.val.ids, *corpus.test.ids}
    assert names == {f"train-{i}" for i in range(12)}
    assert "train-11" in corpus.train.ids  # the only call with its label
    assert set(corpus.train.labels) == set(range(5))


def test_nineteen_thousand_nine_hundred_and_ninety_nine_calls_become_the_papers_splits(folder: Path) -> None:
    shares = [3064, 2425, 2036, 1525, 1445, 1453, 1367, 1386, 880, 741, 623, 503, 403, 441, 298, 270, 211, 208, 138,
              114, 77, 91, 62, 45, 33, 53, 23, 31, 25, 8, 8, 8, 1, 1]  # fmt: skip
    shares[0] += 19_999 - sum(shares)
    with (folder / "cmcc34.txt").open("w", encoding="utf-8") as file:
        for (label, group), count in zip(LABELS, shares, strict=True):
            for i in range(count):
                file.write(f"{i}.wav\t{group}\t{label}\n1\t您好\n2\t{label}{i}\n\n")
    corpus = load()
    assert [len(split) for split in (corpus.train, corpus.val, corpus.test)] == [12_799, 3_200, 4_000]
    assert (len(corpus.labels), len(set(corpus.groups or []))) == (34, 3)
    assert len(set(corpus.label_texts)) == 34
    assert set(corpus.train.labels) == set(range(34))


@pytest.mark.parametrize(
    "spelling",
    [
        lambda group, label: label,
        lambda group, label: group + label,
        lambda group, label: [name for name, _ in LABELS].index(label),
    ],
)
@pytest.mark.parametrize("ending", ["json", "csv"])
def test_tables_with_turns_joined(folder: Path, ending: str, spelling: Callable[[str, str], Any]) -> None:
    for name in ("train", "val", "test"):
        path = folder / f"{name}.{ending}"
        with path.open("w", encoding="utf-8", newline="") as file:
            if ending == "json":
                json.dump(records(spelling), file, ensure_ascii=False)
            else:
                writer = csv.DictWriter(file, ["text", "label"])
                writer.writeheader()
                writer.writerows(records(spelling))
    corpus = load()
    assert named(corpus)[:4] == ["业务规定"] * 3 + ["取消"]
    assert (corpus.groups or [])[corpus.labels.index("取消")] == "办理"
    assert corpus.label_texts[corpus.labels.index("取消")] == "办理取消"
    assert corpus.test.turns is not None
    assert corpus.test.turns[4] == [
        Turn("", "您好请讲"), Turn("", "视频会员不要了每个月扣我十五块"), Turn("", "嗯好的这边帮您退订")
    ]  # fmt: skip
    assert corpus.test.texts[4] == "您好请讲\n视频会员不要了每个月扣我十五块\n嗯好的这边帮您退订"


def test_tables_by_other_names(folder: Path) -> None:
    with (folder / "train_new.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sentence_sep", "c_numerical"])
        writer.writerows(record.values() for record in records(lambda _, label: dict(NUMBERS)[label]))
    files = dict.fromkeys(("train", "val", "test"), "cmcc34/train_new.csv")
    corpus = load(**files, turns="sentence_sep", label="c_numerical")
    assert named(corpus)[-1] == "销户/重开"
    assert corpus.test.texts[5].startswith("您好\n喂那个来电提醒")


NUMBERS = [(label, number) for number, (label, _) in enumerate(LABELS)]


def test_the_labels_are_the_ones_that_are_known(data_dir: Path) -> None:
    known = json.loads((data_dir / "cmcc34" / "labels.json").read_text(encoding="utf-8"))
    assert [(label["label"], label["group"]) for label in known] == list(LABELS)
    assert [label["id"] for label in known] == list(range(34))


def test_a_users_texts_win(folder: Path) -> None:
    shutil.copy(SAMPLE, folder / "cmcc34.txt")
    corpus = load(label_texts={"取消": "客户要求取消业务"})
    assert corpus.label_texts[corpus.labels.index("取消")] == "客户要求取消业务"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (HEADER + "1\t您好\n2\t退订\n3\t嗯\n",
         "test.txt:4 begins with '3', which is no speaker; a turn is a line such as '1<TAB>text' or '2<TAB>text', and "
         "a blank line must stand before the next call"),
        (HEADER + "1\t您好\n" + HEADER, "test.txt:3 begins with 'calls/1.wav', which is no speaker"),
        (HEADER + "2 退订\n", "test.txt:2 begins with '2 退订', which is no speaker"),
        ("\n" + HEADER.replace("\t", " ", 1),
         "test.txt:2 begins a call with 'calls/1.wav 办理<TAB>取消'; its first line must "
         "be 'path<TAB>level-1 label<TAB>level-2 label'"),
        ("calls/1.wav\t办理\t\n1\t您好\n", "test.txt:1 begins a call with 'calls/1.wav<TAB>办理<TAB>'"),
        (HEADER + "\n1\t您好\n", "test.txt:3 begins a call with '1<TAB>您好'"),
        (HEADER + "\n" + HEADER + "1\t您好\n",
         "test.txt:1 has nothing in the column dataset.turns=text, an empty text"),
        (HEADER.replace("取消", "开通") + "1\t您好\n", "test.txt:1 has the label '开通', which train lacks"),
        (HEADER.replace("办理", "投诉（含抱怨）") + "1\t您好\n",
         "the label '取消' has the group '办理' at data/cmcc34/train.txt:19 and the group '投诉（含抱怨）' at "
         "data/cmcc34/test.txt:1; a label must always have the same group"),
        ("\n \n", "test.txt:1 is empty; the file must hold at least one call"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_said_with_its_number(folder: Path, content: str, said: str) -> None:
    shutil.copy(SAMPLE, folder / "train.txt")
    (folder / "test.txt").write_text(content, encoding="utf-8")
    assert said in refused()


def test_another_encoding_is_named(folder: Path) -> None:
    (folder / "cmcc34.txt").write_bytes(SAMPLE.read_text(encoding="utf-8").encode("gb18030"))
    assert "cmcc34.txt:1 is not UTF-8" in refused()


def test_no_files_at_all(folder: Path) -> None:
    said = refused()
    assert said.startswith("the files of dataset=cmcc34 are not in the working directory nor in data_dir=data; ")
    assert "cmcc34/train.txt and cmcc34/val.txt and cmcc34/test.txt, or the files of another of dataset.forms: " in said


def test_raw_calls_and_tables_with_stray_marks_and_compressed(folder: Path) -> None:
    raw = HEADER + '1\t"您好\n2\t取消"一个业务\n'
    calls = f"{raw}\n{raw}\n" + raw.replace("取消\n", "开通\n")
    (folder / "calls.txt.gz").write_bytes(gzip.compress(calls.encode()))
    keys = {"train": "cmcc34/calls.txt.gz", "form": None, "forms": {}}
    corpus = load(**keys, test="cmcc34/calls.txt.gz", carve_test=False)
    assert corpus.test.texts == ['客服："您好\n客户：取消"一个业务'] * 3
    (folder / "t.tsv").write_text('text\tlabel\n"客服\t取消\n客户"\t开通\n好\t取消\n', encoding="utf-8")
    table = {"train": "cmcc34/t.tsv", "test": "cmcc34/t.tsv", "val": "cmcc34/t.tsv", "turns": None, "group": None}
    assert refused(**table).startswith("data/cmcc34/t.tsv:2 opens a field with a quotation mark that is closed on")
    assert load(**table, quoting="none").train.texts == ['"客服', '客户"', "好"]
