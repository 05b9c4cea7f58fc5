"""The commit a run notes, in repositories made on the spot."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lrsl.run import commit

Git = Callable[..., str]


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """A repository with one commit, taken for this package's, and what runs git in it."""

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q")
    (tmp_path / "code.py").write_text("1\n")
    git("add", "code.py")
    git("commit", "-q", "-m", "one")
    monkeypatch.setattr(commit, "ROOT", tmp_path)
    commit.commit.cache_clear()
    yield git
    commit.commit.cache_clear()


def test_it_is_the_checked_out_one(git: Git, tmp_path: Path) -> None:
    (tmp_path / "untracked.txt").write_text("")
    git("tag", "-a", "v1", "-m", "one")
    assert commit.commit() == git("rev-parse", "HEAD")[:10]


def test_a_changed_file_is_marked(git: Git, tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("2\n")
    assert commit.commit() == git("rev-parse", "HEAD")[:10] + "+"


def test_it_stays_what_it_was_when_the_code_was_loaded(git: Git, tmp_path: Path) -> None:
    before = commit.commit()
    (tmp_path / "code.py").write_text("2\n")
    git("commit", "-q", "-a", "-m", "two")
    assert commit.commit() == before != git("rev-parse", "HEAD")[:10]


def test_a_hook_that_runs_us_does_not_lead_elsewhere(
    git: Git, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path_factory.mktemp("elsewhere")))
    told = commit.commit()
    monkeypatch.delenv("GIT_DIR")
    assert told == git("rev-parse", "HEAD")[:10]


def test_an_installed_package_does_not_take_the_commit_of_what_lies_around_it(
    git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "site-packages"
    installed.mkdir()
    monkeypatch.setattr(commit, "ROOT", installed)
    assert commit.commit() is None


@pytest.mark.parametrize("trouble", ["no git", "a damaged repository"])
def test_trouble_is_no_error(git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str) -> None:
    if trouble == "no git":
        monkeypatch.setenv("PATH", "")
    else:
        (tmp_path / ".git" / "HEAD").write_text("?")
    assert commit.commit() is None
