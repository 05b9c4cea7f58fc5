import os
import time
from pathlib import Path

import pytest

from lrsl import fingerprint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of weights that nobody has touched for an hour."""
    (tmp_path / "1_Pooling").mkdir()
    for name in ("model.safetensors", "vocab.bpe", "1_Pooling/config.json", "README.md", ".gitattributes"):
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize("name", ["model.safetensors", "vocab.bpe", "1_Pooling/config.json"])
def test_any_file_that_may_be_loaded_counts(folder: Path, name: str) -> None:
    before = fingerprint.of_folder(folder)
    (folder / name).write_text("other")
    assert fingerprint.of_folder(folder) != before
    (folder / name).write_text(name)
    assert fingerprint.of_folder(folder) == before
    (folder / name).rename(folder / "renamed.json")
    assert fingerprint.of_folder(folder) != before


@pytest.mark.parametrize("name", ["README.md", ".gitattributes"])
def test_what_is_never_loaded_does_not_count(folder: Path, name: str) -> None:
    before = fingerprint.of_folder(folder)
    (folder / name).write_text("other")
    assert fingerprint.of_folder(folder) == before


def test_a_file_is_read_once_while_it_stays_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(fingerprint.LARGE))
    ahead = time.time_ns() + 60 * 10**9
    monkeypatch.setattr(fingerprint.time, "time_ns", lambda: ahead)
    first = fingerprint.sha256(path)
    kept = fingerprint.hashes_of([tmp_path])
    fingerprint._hashes.clear()
    fingerprint.remember(kept)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", None)  # it cannot be read
        assert fingerprint.sha256(path) == first
    times = path.stat()
    path.write_bytes(b"1" * fingerprint.LARGE)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert fingerprint.sha256(path) != first


def test_a_file_that_has_just_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    found = set()
    for content in "abcdefgh":
        path.write_text(content)
        found.add(fingerprint.sha256(path))
    assert len(found) == 8


def test_weights_lie_in_a_folder_the_package_or_the_hubs_copy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fingerprint.folder_of(str(folder)) == folder
    packaged = fingerprint.folder_of(fingerprint.MINILM)
    assert packaged is not None
    assert (packaged / "model.safetensors").is_file()
    assert fingerprint.folder_of("some/model") is None

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    copy = folder / "models--some--model"
    for commit in ("one", "two"):
        (copy / "snapshots" / commit).mkdir(parents=True)
        (copy / "refs").mkdir(exist_ok=True)
        (copy / "refs" / "main").write_text(commit)
        assert fingerprint.folder_of("some/model") == copy / "snapshots" / commit
    (copy / "refs" / "main").write_text("three")  # not all of it has come
    assert fingerprint.folder_of("some/model") is None
