"""The hub is a stand-in that keeps files in a mapping: what goes up and comes down, and what is said where it fails."""

import inspect
import re

import hub_stand_in
import pytest
import torch
from huggingface_hub import errors
from test_reranker import LABELS, TEST, TRAIN, VAL

from lrsl import Lexical, Reranker
from lrsl.errors import InputError
from lrsl.plugin import hub

TOKEN = "hf_" + "a1" * 17


@pytest.fixture
def there(tmp_path, monkeypatch):
    return hub_stand_in.put(monkeypatch, tmp_path / "cache")


@pytest.fixture(scope="module")
def fitted(tiny_bert):
    reranker = Reranker(str(tiny_bert), LABELS, rule="fitted")
    train = (TRAIN.texts, TRAIN.labels, None)
    return reranker.fit(VAL.logits, VAL.labels, VAL.texts, train=train, finetune=False)


def response(status):
    client = inspect.getmodule(errors.HfHubHTTPError.__mro__[1]).__name__.partition(".")[0]
    module = __import__(client)
    return module.Response(status, request=module.Request("GET", f"https://hub.example/?token={TOKEN}"))


def test_what_goes_up_comes_down_and_answers_the_same(fitted, there):
    address = fitted.push_to_hub("me/mine", private=True, token=TOKEN)
    assert address == "https://hub.example/me/mine/commit/1"
    files = there.repositories["me/mine"]["main"]
    assert {"README.md", "reranker.json", "learnt.safetensors", "embedding/model.safetensors"} <= {*files}
    assert there.asked[0]["token"] == TOKEN
    assert there.asked[1]["private"] is True
    assert not any(TOKEN.encode() in content for content in files.values())
    again = Reranker.from_pretrained("me/mine")
    assert torch.equal(again.rerank(TEST.logits, TEST.texts), fitted.rerank(TEST.logits, TEST.texts))
    assert again.report_ == fitted.report_


def test_the_example_of_the_card_loads_from_the_hub(fitted, there):
    fitted.push_to_hub("me/mine")
    text = there.repositories["me/mine"]["main"]["README.md"].decode()
    (example,) = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    names = {"logits": TEST.logits, "texts": TEST.texts}
    exec(compile(example, "README.md", "exec"), names)
    assert torch.equal(names["labels"], fitted.predict(TEST.logits, TEST.texts))


def test_a_revision_is_another_reranker(fitted, there):
    fitted.push_to_hub("me/mine")
    words = Reranker(None, LABELS, views=[Lexical()], rule="fitted")
    words.fit(VAL.logits, VAL.labels, VAL.texts, train=(TRAIN.texts, TRAIN.labels, None))
    words.push_to_hub("me/mine", revision="words", commit_message="Words alone")
    assert there.asked[-1]["commit_message"] == "Words alone"
    branches = there.repositories["me/mine"]
    assert not any(name.startswith("embedding/") for name in branches["words"])  # what main has is removed there
    assert any(name.startswith("embedding/") for name in branches["main"])
    again = Reranker.from_pretrained("me/mine", revision="words")
    assert [type(view) for view in again.views] == [Lexical]
    assert torch.equal(again.predict(TEST.logits, TEST.texts), words.predict(TEST.logits, TEST.texts))
    assert len(Reranker.from_pretrained("me/mine").views) == 4


def test_of_what_lies_there_data_alone_are_fetched(fitted, there):
    fitted.push_to_hub("me/mine")
    files = there.repositories["me/mine"]["main"]
    strange = [
        "setup.py",
        "learnt.pkl",
        "x.json",
        *(f"embedding/{name}" for name in ("m.py", "pytorch_model.bin", "a.pt")),
    ]
    files |= dict.fromkeys(strange, b"import os")
    Reranker.from_pretrained("me/mine", token=TOKEN)
    fetched = {path.relative_to(there.folder / "main").as_posix() for path in there.folder.rglob("*") if path.is_file()}
    assert fetched == {*files} - {*strange}
    assert there.asked[-1]["token"] == TOKEN


def test_code_that_an_embedding_on_the_hub_names_is_refused(fitted, there):
    fitted.push_to_hub("me/mine")
    files = there.repositories["me/mine"]["main"]
    config = files["embedding/config.json"].decode()
    files["embedding/config.json"] = config.replace("{", '{"auto_map": {"AutoModel": "modeling.Mine"},', 1).encode()
    with pytest.raises(InputError, match=r"would run code: config\.json names auto_map"):
        Reranker.from_pretrained("me/mine")


def test_a_repository_without_a_reranker_is_one_sentence(there):
    there.create_repo("me/other", exist_ok=True)
    with pytest.raises(InputError, match=r"^me/other on the hub holds no reranker: reranker\.json is missing"):
        Reranker.from_pretrained("me/other")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (lambda: errors.RepositoryNotFoundError(TOKEN, response=response(404)), "there is none of this name, or it is"),
        (lambda: errors.GatedRepoError(TOKEN, response=response(403)), "its owner gives access on request"),
        (lambda: errors.RevisionNotFoundError(TOKEN, response=response(404)), "there is no revision v9; name a branch"),
        (lambda: errors.HfHubHTTPError(TOKEN, response=response(403)), "the token does not allow it; log in with"),
        (lambda: errors.HfHubHTTPError(TOKEN, response=response(503)), "it answers with status 503; try again later"),
        (lambda: errors.LocalEntryNotFoundError(TOKEN), r"it cannot be reached \(LocalEntryNotFoundError\)"),
        (lambda: errors.OfflineModeIsEnabled(TOKEN), r"it cannot be reached \(OfflineModeIsEnabled\); try again"),
        (lambda: errors.LocalTokenNotFoundError(TOKEN), "there is no token; log in with"),
        (lambda: errors.HTTPError(TOKEN), r"it cannot be reached \(HTTPError\)"),
        (lambda: errors.HFValidationError(TOKEN), "no repository may be called so; write OWNER/NAME"),
    ],
)
@pytest.mark.parametrize("way", ["up", "down"])
def test_a_hub_that_fails_is_one_sentence_without_the_token(fitted, there, monkeypatch, error, message, way):
    def fails(*_, **__):
        raise error()

    monkeypatch.setattr(hub, "snapshot_download", fails)
    monkeypatch.setattr(there, "upload_folder", fails)
    done = "written to" if way == "up" else "read"
    asked = fitted.push_to_hub if way == "up" else Reranker.from_pretrained
    with pytest.raises(InputError, match=f"^me/mine cannot be {done} on the hub: {message}") as refused:
        asked("me/mine", revision="v9", token=TOKEN)
    assert TOKEN not in str(refused.value)
    assert refused.value.__suppress_context__


def test_a_full_disk_is_said_to_be_one(there, monkeypatch):
    def fails(*_, **__):
        raise OSError(28, "No space left on device", "/somewhere")

    monkeypatch.setattr(hub, "snapshot_download", fails)
    with pytest.raises(InputError, match=r"^/somewhere: No space left on device"):
        Reranker.from_pretrained("me/mine")


def test_a_folder_comes_before_a_name_on_the_hub(fitted, there, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fitted.save_pretrained("me/mine")
    assert Reranker.from_pretrained("me/mine").report_ == fitted.report_
    assert there.asked == []
    for key in ({"revision": "main"}, {"token": TOKEN}):
        (name,) = key
        with pytest.raises(ValueError, match=f"^{name} has no effect on the folder me/mine; give OWNER/NAME"):
            Reranker.from_pretrained("me/mine", **key)


@pytest.mark.parametrize("name", ["mine", "me/mine/more", "../mine", "me/", "/me", "me/mi ne", "", "~/mine"])
def test_what_cannot_be_a_name_is_never_asked_for(fitted, there, name):
    with pytest.raises(InputError, match=r"is no name of a repository; write OWNER/NAME"):
        fitted.push_to_hub(name)
    with pytest.raises(ValueError, match=r"holds no reranker: reranker\.json is missing"):
        Reranker.from_pretrained(name)
    assert there.asked == []


def test_what_was_never_fitted_is_not_sent(there):
    with pytest.raises(RuntimeError, match="not fitted"):
        Reranker(None, LABELS, views=[Lexical()]).push_to_hub("me/mine")
    assert there.asked == []


def test_files_that_are_no_data_are_not_sent(there, tmp_path):
    (tmp_path / "embedding").mkdir()
    (tmp_path / "embedding" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(InputError, match=r"^embedding/pytorch_model\.bin is no kind of file that is fetched"):
        hub.pushed(tmp_path, "me/mine", private=None, token=None, revision=None, commit_message="x")
    assert there.asked == []


def test_a_copy_in_the_hubs_own_cache_needs_no_network(fitted, tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--me--mine"
    fitted.save_pretrained(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for revision in (None, commit):
        again = Reranker.from_pretrained("me/mine", revision=revision)
        assert torch.equal(again.predict(TEST.logits, TEST.texts), fitted.predict(TEST.logits, TEST.texts))
    with pytest.raises(InputError, match=r"^me/none cannot be read on the hub: it cannot be reached"):
        Reranker.from_pretrained("me/none")
