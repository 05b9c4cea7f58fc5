"""Rerankers on the hub of Hugging Face: what `save_pretrained` writes goes up, and comes down as data alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,  # of whichever client this version of huggingface_hub has
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from lrsl import files
from lrsl.errors import InputError
from lrsl.paths import is_file, is_folder
from lrsl.plugin.saving import CARD, CONFIG, EMBEDDING, LEARNT

DATA = (CONFIG, LEARNT, CARD, *(f"{EMBEDDING}/*.{kind}" for kind in ("safetensors", "json", "txt", "model")))
"""What is sent and fetched: JSON, safetensors, the card, and the vocabularies of tokenizers; never code or pickles."""
UNUSED = (".md", ".jinja")  # endings of what else a library may leave beside an embedding
_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


def check_id(repo_id: str) -> None:
    """Check that a repository of the hub may be called so.

    Raises:
        InputError: it may not.
    """
    if not isinstance(repo_id, str) or not _ID.fullmatch(repo_id):
        raise InputError(f"{repo_id!r} is no name of a repository; write OWNER/NAME")


def located(given: str | Path, revision: str | None = None, token: str | bool | None = None) -> Path:
    """Return the folder of a reranker: the one that is given, or the hub's, fetched where it is not here yet.

    Args:
        given: a folder, or `OWNER/NAME` where there is no such folder.
        revision: branch, tag or commit on the hub.
        token: of the hub; that of `hf auth login` or `HF_TOKEN` unless given.

    Raises:
        InputError: it is not on the hub, the hub cannot be reached, or there is no reranker.
        ValueError: revision or token have no effect on a folder.
    """
    if is_folder(Path(given)) or not isinstance(given, str) or not _ID.fullmatch(given):
        unused = "revision" if revision is not None else "token" if token is not None else None
        if unused is not None:
            raise ValueError(f"{unused} has no effect on the folder {given}; give OWNER/NAME of a reranker on the hub")
        return Path(given)
    with _in_a_sentence(given, revision, "read"):
        folder = Path(snapshot_download(given, revision=revision, token=token, allow_patterns=[*DATA]))
    if not is_file(folder / CONFIG):
        raise InputError(f"{given} on the hub holds no reranker: {CONFIG} is missing; name one made by push_to_hub")
    return folder


def pushed(
    folder: Path,
    repo_id: str,
    *,
    private: bool | None,
    token: str | bool | None,
    revision: str | None,
    commit_message: str,
) -> str:
    """Send the files of a reranker to the hub, and return the address of the commit.

    What an earlier reranker has left there, and this one lacks, is removed.

    Args:
        folder: what `save_pretrained` has written.
        repo_id: `OWNER/NAME`; made where there is none.
        private: whether a new one is seen by its owner alone; what the owner's settings say unless given.
        token: one that may write; that of `hf auth login` or `HF_TOKEN` unless given.
        revision: the branch; made where there is none.
        commit_message: what the commit says.

    Raises:
        InputError: the hub cannot be reached or refuses, or the embedding has a file that is no data.
    """
    found = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    for name in found:
        if not name.endswith(UNUSED) and not any(fnmatch(name, pattern) for pattern in DATA):
            raise InputError(f"{name} is no kind of file that is fetched from the hub; give another embedder")
    with _in_a_sentence(repo_id, revision, "written to"):
        api = HfApi(token=token, library_name="lrsl")
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            revision=revision,
            commit_message=commit_message,
            allow_patterns=[*DATA],
            delete_patterns=[*DATA],
        )
    return str(commit.commit_url)


@contextmanager
def _in_a_sentence(repo_id: str, revision: str | None, done: str) -> Iterator[None]:
    """Say in a sentence what is wrong, with nothing of the libraries' own words, in which a token might stand."""
    try:
        yield
    except (OSError, HTTPError, EntryNotFoundError, HFValidationError) as error:
        if not isinstance(error, HfHubHTTPError) and (reason := files.trouble(error)) is not None:
            raise InputError(reason) from None
        raise InputError(f"{repo_id} cannot be {done} on the hub: {_reason(error, revision)}") from None


def _reason(error: Exception, revision: str | None) -> str:
    log_in = "log in with `hf auth login`, or give token"
    known: dict[type[Exception], str] = {
        HFValidationError: "no repository may be called so; write OWNER/NAME",
        LocalTokenNotFoundError: f"there is no token; {log_in}",
        GatedRepoError: f"its owner gives access on request; ask for it on its page, and {log_in}",
        RevisionNotFoundError: f"there is no revision {revision}; name a branch, a tag or a commit",
        RepositoryNotFoundError: f"there is none of this name, or it is private; check the name, or {log_in}",
    }
    for kind, reason in known.items():  # a gated one is a kind of one that is not found
        if isinstance(error, kind):
            return reason
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status in (401, 403):
        return f"the token does not allow it; {log_in} of one that does"
    answer = f"it answers with status {status}" if status else f"it cannot be reached ({type(error).__name__})"
    return f"{answer}; try again later, or give a folder"
