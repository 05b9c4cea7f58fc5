"""CMCC-34: calls to a Chinese mobile operator, in the raw format of CCL2018 task 1 or as tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lrsl.config.schema import DatasetConfig
from lrsl.data.corpus import Corpus
from lrsl.data.samples import is_table, read_table, read_table_corpus
from lrsl.data.table import Record, read_text
from lrsl.errors import InputError

_INQUIRY, _TRANSACTION, _COMPLAINT = "咨询（含查询）", "办理", "投诉（含抱怨）"

LABELS = (
    ("业务规定", _INQUIRY),
    ("取消", _TRANSACTION),
    ("业务资费", _INQUIRY),
    ("营销活动信息", _INQUIRY),
    ("办理方式", _INQUIRY),
    ("业务使用问题", _COMPLAINT),
    ("账户信息", _INQUIRY),
    ("开通", _TRANSACTION),
    ("业务订购信息查询", _INQUIRY),
    ("不知情定制问题", _COMPLAINT),
    ("产品/业务功能", _INQUIRY),
    ("用户资料", _INQUIRY),
    ("费用问题", _COMPLAINT),
    ("业务办理问题", _COMPLAINT),
    ("服务问题", _COMPLAINT),
    ("变更", _TRANSACTION),
    ("服务渠道信息", _INQUIRY),
    ("业务规定不满", _COMPLAINT),
    ("营销问题", _COMPLAINT),
    ("网络问题", _COMPLAINT),
    ("停复机", _TRANSACTION),
    ("信息安全问题", _COMPLAINT),
    ("重置/修改/补发", _TRANSACTION),
    ("使用方式", _INQUIRY),
    ("号码状态", _INQUIRY),
    ("工单处理结果", _INQUIRY),
    ("打印/邮寄", _TRANSACTION),
    ("宽带覆盖范围", _INQUIRY),
    ("移机/装机/拆机", _TRANSACTION),
    ("缴费", _TRANSACTION),
    ("下载/设置", _TRANSACTION),
    ("补换卡", _TRANSACTION),
    ("销户/重开", _TRANSACTION),
    ("电商货品信息", _INQUIRY),
)
"""The 34 labels with their groups; a label's place is the number that tables of CMCC-34 have for it."""

_GROUP_OF = dict(LABELS)
_SPELLINGS = {
    **{str(number): label for number, (label, _) in enumerate(LABELS)},
    **{group + label: label for label, group in LABELS},
}


def read_cmcc34(config: DatasetConfig, data_dir: str | None) -> Corpus:
    """Return the corpus in files of the raw format or in tables, told apart by the files' endings.

    In a table a label may also be its number, or its group and name in one; the group's column may be missing. The
    text of a label is its group and its name, as in 咨询业务规定.

    Raises:
        InputError: a file or one of its records is wrong.
    """
    return read_table_corpus(config, data_dir, _read)


def read_calls(path: Path, config: DatasetConfig) -> list[Record]:
    r"""Return the calls in a file of the raw format, under the columns that the configuration names.

    Blank lines stand between calls. A call's first line is `path\tlevel-1 label\tlevel-2 label`; each further line is
    a turn, `speaker\ttext`, whose speaker is `config.agent` or `config.customer`.

    Raises:
        InputError: the file cannot be read or is empty, or a line is neither.
    """
    speakers = [mark for mark in (config.agent, config.customer) if mark]
    turns = " or ".join(f"'{mark}<TAB>text'" for mark in speakers)
    records: list[Record] = []
    inside = False
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        fields = [field.strip() for field in line.split("\t")]
        if not any(fields):
            inside = False
        elif not inside:
            records.append(_call(path, number, fields, config))
            inside = True
        elif fields[0] in speakers:
            turn = {"speaker": fields[0], "text": " ".join(fields[1:]).strip()}
            records[-1].values[config.turns or "turns"].append(turn)
        else:
            raise InputError(
                f"{path}:{number} begins with '{_short(fields[0])}', which is no speaker; a turn is a line such as "
                f"{turns}, and a blank line must stand before the next call"
            )
    if not records:
        raise InputError(f"{path}:1 is empty; the file must hold at least one call")
    return records


def _call(path: Path, number: int, fields: list[str], config: DatasetConfig) -> Record:
    if len(fields) != 3 or not all(fields[1:]):
        raise InputError(
            f"{path}:{number} begins a call with '{_short('<TAB>'.join(fields))}'; its first line must be "
            "'path<TAB>level-1 label<TAB>level-2 label'"
        )
    _, group, label = fields
    values: dict[str, Any] = {config.label: label, config.turns or "turns": []}
    return Record(path, number, values if config.group is None else {**values, config.group: group})


def _read(path: Path, config: DatasetConfig) -> list[Record]:
    read = read_table if is_table(path) else read_calls
    return [_described(record, config) for record in read(path, config)]


def _described(record: Record, config: DatasetConfig) -> Record:
    """Return the record with its label's name, its group where the file has none, and its label's text."""
    given = record.values.get(config.label)
    if given is None or isinstance(given, list | dict):
        return record
    label = _SPELLINGS.get(str(given).strip(), str(given).strip())
    values = {**record.values, config.label: label}
    if config.group is not None and config.group not in values and label in _GROUP_OF:
        values[config.group] = _GROUP_OF[label]
    if config.label_text is not None and config.label_text not in values:
        group = values.get(config.group) if config.group is not None else _GROUP_OF.get(label)
        values[config.label_text] = _text(label, str(group or ""))
    return record._replace(values=values)


def _text(label: str, group: str) -> str:
    kind = group.partition("（")[0].partition("(")[0]
    return ("" if label.startswith(kind) else kind) + label.replace("/", "、")


def _short(text: str) -> str:
    return text if len(text) <= 30 else f"{text[:29]}…"
