"""Reads back what W&B wrote for a run: `<folder>/wandb/offline-run-*/run-*.wandb`.

The file is a log in LevelDB's format: a header of 7 bytes, then blocks of 32 KiB, in them fragments (checksum, length,
type, data) that make up records, each a protocol buffer.
"""

import gzip
import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BLOCK = 32 * 1024
_FILE_HEADER, _FRAGMENT_HEADER = 7, 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


@dataclass
class OfflineRun:
    """One run as it stands on disk."""

    folder: Path
    id: str = ""
    started: int = 0
    project: str = ""
    group: str = ""
    job_type: str = ""
    name: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int | None = None
    artifacts: dict[str, dict[str, Path]] = field(default_factory=dict)
    """Name → name of each file in it → where it lies."""

    def column(self, name: str) -> list[Any]:
        """Return the values logged under a name, in order."""
        return [row[name] for row in self.history if name in row]

    def table(self, name: str) -> dict[str, Any]:
        """Return the `columns` and `data` of a table."""
        logged = self.column(name)[-1]
        assert logged["_type"] == "table-file"
        return json.loads((self.folder / "files" / logged["path"]).read_text(encoding="utf-8"))


def offline_runs(folder: Path, patience: float = 10) -> list[OfflineRun]:
    """Return the offline runs in `folder`, at any depth, in the order of their start.

    W&B's own process writes the files, and may do so a moment after `finish` has returned: runs without an exit code
    are waited for, `patience` seconds in all.
    """
    deadline = time.monotonic() + patience
    while True:
        runs = [read_run(file) for file in folder.glob("**/offline-run-*/run-*.wandb")]
        if all(run.exit_code is not None for run in runs) or time.monotonic() > deadline:
            return sorted(runs, key=lambda run: run.started)
        time.sleep(0.05)


def read_run(file: Path) -> OfflineRun:
    """Return what one .wandb file holds."""
    from wandb.proto.wandb_internal_pb2 import Record

    run = OfflineRun(file.parent)
    for data in _records(file.read_bytes()):
        record = Record.FromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.id, run.project, run.group = record.run.run_id, record.run.project, record.run.run_group
            run.job_type, run.name, run.tags = record.run.job_type, record.run.display_name, list(record.run.tags)
            run.started = record.run.start_time.ToNanoseconds()
            _update(run.config, record.run.config.update)
            _update(run.summary, record.run.summary.update)
        elif kind == "config":
            _update(run.config, record.config.update)
        elif kind == "summary":
            _update(run.summary, record.summary.update)
        elif kind == "history":
            run.history.append({})
            _update(run.history[-1], record.history.item)
        elif kind == "artifact" and not record.artifact.type.startswith("run_table"):
            contents = record.artifact.manifest.contents
            if not contents and record.artifact.manifest.manifest_file_path:
                lines = gzip.decompress(Path(record.artifact.manifest.manifest_file_path).read_bytes()).splitlines()
                found = map(json.loads, lines)
                files = {entry["path"]: Path(entry["local_path"]) for entry in found}
            else:
                files = {entry.path: Path(entry.local_path) for entry in contents}
            run.artifacts[record.artifact.name] = files
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    return run


def _update(target: dict[str, Any], items: Any) -> None:
    for item in items:
        *path, last = list(item.nested_key) or [item.key]
        inner = target
        for key in path:
            inner = inner.setdefault(key, {})
        inner[last] = json.loads(item.value_json)


def _records(data: bytes) -> Iterator[bytes]:
    assert data[:4] in (b":W&B", b""), "not a .wandb file"
    at, parts = _FILE_HEADER, b""
    while at + _FRAGMENT_HEADER <= len(data):
        left = _BLOCK - at % _BLOCK
        if left < _FRAGMENT_HEADER:  # too little for a fragment: padding
            at += left
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        at += _FRAGMENT_HEADER
        if at + length > len(data):  # still being written
            return
        parts += data[at : at + length]
        at += length
        assert kind in (_FULL, _FIRST, _MIDDLE, _LAST), f"unknown fragment type {kind} at byte {at}"
        if kind in (_FULL, _LAST):
            yield parts
            parts = b""
