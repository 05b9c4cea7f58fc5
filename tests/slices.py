"""Folders of local copies in small: the paper's data sets with texts made up here, or the real files' first rows."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

PHRASES = {
    "cmcc34": {
        "业务规定": ["套餐到期会不会自动续", "没用完的流量能不能留到下月", "一张证件可以办几个号"],
        "账户信息": ["我卡里还剩多少钱", "这个月打了多少分钟电话", "我现在是哪个套餐"],
        "取消": ["把彩铃给我退了", "来电提醒我不要了", "视频会员帮我关掉"],
        "开通": ["给我开个国际漫游", "我要加一个流量包", "帮我把呼叫转移打开"],
        "费用问题": ["怎么又多扣我三十块", "充了一百到现在没到账", "没超流量还收超出的钱"],
    },
    "iflytek119": {
        "0": ["一键叫车司机几分钟就到", "拼车顺风车专车都有", "出行前预估车费"],
        "1": ["离线地图没有网络也能用", "避开拥堵规划路线", "步行公交驾车导航"],
        "10": ["物业缴费报修一站办理", "邻居之间发帖互助", "小区公告及时送达"],
        "110": ["生鲜蔬菜半小时送到家", "楼下超市线上下单", "水果粮油每天特价"],
    },
    "banking77": {
        "card_arrival": ["when my new card will come", "why no card has arrived", "how long a card takes in the mail"],
        "exchange_rate": ["what the exchange rate is", "how euros become dollars", "which rate I get abroad"],
        "lost_or_stolen_card": ["what to do if a card is stolen", "how to block a lost card", "who found my card"],
        "top_up_failed": ["why my top-up failed", "how a top-up can not go through", "why no money was added"],
    },
    "tsec3": {
        "negative": ["I feel sick and tired", "missing my old dog so much", "the train is late again, awful"],
        "neutral": ["on the way to the shop", "does anyone know what is on tonight", "back at work on Monday"],
        "positive": ["what a lovely sunny day", "thanks for the great party", "so happy for you"],
    },
}
"""What is said, by data set and label."""

FRAMES = {
    "cmcc34": ["喂你好{}", "哎我想问下{}啊", "那个{}行不行", "麻烦你{}谢谢", "{}你帮我看看", "齉我跟你说{}"],
    "iflytek119": ["{}。", "全新版本！{},欢迎下载", "{}，修复问题", "身边的助手：{}", "简单？{}！", "☂{};敬请期待"],
    "banking77": ["Tell me {}", "I'd ask {}.", 'Just say "{}"', "Hello,\n{}?", "Do you know {}?", "☂ {}, please"],
    "tsec3": ["{}", "ugh... {}", "@someone {} http://example.org/1", "{} lol", " well, {}!", "☂ {} "],
}
"""How it is said; the last one only in test, where it has a character that no training text has."""

INQUIRY, TRANSACTION, COMPLAINT = "咨询（含查询）", "办理", "投诉（含抱怨）"
GROUPS = {"业务规定": INQUIRY, "账户信息": INQUIRY, "取消": TRANSACTION, "开通": TRANSACTION, "费用问题": COMPLAINT}
APPS = {"0": "打车", "1": "地图导航", "10": "社区服务", "110": "社区超市"}
UNLABELLED = 7

Row = dict[str, Any]


def split(dataset: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return label and text of fifteen training samples per label, and of three test samples per label."""
    of_label, (*known, new) = PHRASES[dataset], FRAMES[dataset]
    train = [(label, frame.format(said)) for frame in known for label in of_label for said in of_label[label]]
    return train, [(label, new.format(said)) for label in of_label for said in of_label[label]]


def write(folder: Path) -> Path:
    """Write the four data sets made up here into a folder and return it."""
    for name, calls in zip(("train", "test"), split("cmcc34"), strict=True):
        blocks = [call(i, GROUPS[label], label, text) for i, (label, text) in enumerate(calls)]
        if name == "train":  # a label with a single call, as CMCC-34 has
            blocks.append(call(len(blocks), TRANSACTION, "销户/重开", "这个号我不用了想销掉"))
        _text_file(folder / "cmcc34" / f"{name}.txt", "\n".join(blocks))

    clue = folder / "iflytek119" / "clue"
    for name, texts in zip(("train", "dev"), split("iflytek119"), strict=True):
        _json_lines(clue / f"{name}.json", [{"label": n, "label_des": APPS[n], "sentence": text} for n, text in texts])
    _json_lines(clue / "test.json", [{"id": i, "sentence": f"第{i}个应用"} for i in range(UNLABELLED)])

    for name, questions in zip(("train", "test"), split("banking77"), strict=True):
        _csv(folder / "banking77" / f"{name}.csv", [{"text": text, "category": label} for label, text in questions])

    train, test = split("tsec3")
    tweets = [{"textID": i, "text": text, "selected_text": text, "sentiment": n} for i, (n, text) in enumerate(train)]
    tweets.insert(5, {"textID": "x", "text": "", "selected_text": "", "sentiment": "neutral"})  # the real file has one
    _csv(folder / "tsec" / "train.csv", tweets)
    tweets = [{"textID": i, "text": text, "sentiment": label} for i, (label, text) in enumerate(test)]
    _csv(folder / "tsec" / "test.csv", tweets)
    return folder


def call(number: int, group: str, label: str, text: str) -> str:
    """Return a call in the raw format of CCL2018: a line of labels, then the turns; every third has one turn more."""
    turns = ["1\t您好请讲", f"2\t{text}", "1\t好的请稍等"] + ["1\t这边已经帮您登记了"] * (number % 3 == 0)
    return "".join(f"{line}\n" for line in (f"calls/{number}.wav\t{group}\t{label}", *turns))


def cut(files: Path, folder: Path) -> Path:
    """Write the first rows of four labels of each real file into a folder of the same layout, and return it."""
    for name, column in (("banking77", "category"), ("tsec", "sentiment")):
        train, test = (read(files / name / f"{part}.csv") for part in ("train", "test"))
        labels = _labels(train, column)
        _csv(folder / name / "train.csv", _first(train, column, labels, 12))
        _csv(folder / name / "test.csv", _first(test, column, labels, 4))
    clue, few = Path("iflytek119", "clue"), Path("iflytek119", "fewclue")
    labels = _labels(read(files / few / "train_few_all.json"), "label")
    for path in (few / "train_few_all.json", few / "dev_few_all.json", few / "test_public.json", clue / "dev.json"):
        _json_lines(folder / path, _first(read(files / path), "label", labels, 5))
    _json_lines(folder / clue / "test.json", read(files / clue / "test.json")[:UNLABELLED])
    return folder


def read(path: Path) -> list[Row]:
    """Return the records of a CSV or JSON lines file."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def _labels(rows: Iterable[Row], column: str) -> list[str]:
    return list(dict.fromkeys(str(row[column]) for row in rows))[:4]


def _first(rows: Iterable[Row], column: str, labels: Sequence[str], most: int) -> list[Row]:
    """Return the first rows of each label, in the order of the file, and those with an empty text wherever they are."""
    seen: Counter[str] = Counter()
    kept = []
    for row in rows:
        label = str(row[column])
        seen[label] += 1
        if label in labels and (seen[label] <= most or row.get("text") == ""):
            kept.append(row)
    return kept


def _csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    _text_file(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _text_file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
