"""A hub that keeps files in a mapping, for tests that reach no network."""

import inspect
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.utils import filter_repo_objects

from lrsl.plugin import hub


class Hub:
    """Keeps branches of repositories; its functions take what those of huggingface_hub take."""

    def __init__(self, folder):
        self.folder, self.repositories, self.asked = folder, {}, []

    def api(self, **settings):
        inspect.signature(huggingface_hub.HfApi.__init__).bind(None, **settings)
        self.asked.append(settings)
        return self

    def create_repo(self, repo_id, **settings):
        inspect.signature(huggingface_hub.HfApi.create_repo).bind(None, repo_id, **settings)
        self.asked.append(settings)
        self.repositories.setdefault(repo_id, {"main": {}})

    def create_branch(self, repo_id, **settings):
        inspect.signature(huggingface_hub.HfApi.create_branch).bind(None, repo_id, **settings)
        self.repositories[repo_id].setdefault(settings["branch"], dict(self.repositories[repo_id]["main"]))

    def upload_folder(self, **settings):
        inspect.signature(huggingface_hub.HfApi.upload_folder).bind(None, **settings)
        self.asked.append(settings)
        files = self.repositories[settings["repo_id"]][settings["revision"] or "main"]
        folder = Path(settings["folder_path"])
        for name in filter_repo_objects(list(files), allow_patterns=settings["delete_patterns"]):
            del files[name]
        found = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
        for name in filter_repo_objects(found, allow_patterns=settings["allow_patterns"]):
            files[name] = (folder / name).read_bytes()
        return SimpleNamespace(commit_url=f"https://hub.example/{settings['repo_id']}/commit/1")

    def snapshot_download(self, repo_id, **settings):
        inspect.signature(huggingface_hub.snapshot_download).bind(repo_id, **settings)
        self.asked.append(settings)
        revision = settings["revision"] or "main"
        files, folder = self.repositories[repo_id][revision], self.folder / revision
        for name in filter_repo_objects(list(files), allow_patterns=settings["allow_patterns"]):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(files[name])
        return str(folder)


def put(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Hub:
    """Have rerankers go to a hub of their own, which they fetch into a folder."""
    made = Hub(folder)
    monkeypatch.setattr(hub, "HfApi", made.api)
    monkeypatch.setattr(hub, "snapshot_download", made.snapshot_download)
    return made
