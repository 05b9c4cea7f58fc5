import gc
import hashlib
import logging
import threading
import warnings
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pooch
import pytest

from lrsl.config.schema import DownloadConfig
from lrsl.data.fetch import locate
from lrsl.errors import InputError

CONTENT = b"text,label\na,x\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "corpus/train.csv"


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server on this machine, which holds train.csv; the cache is an empty folder."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "train.csv").write_bytes(CONTENT)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()
    with warnings.catch_warnings():  # pooch leaves the connection of a refused answer to the garbage collector
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def test_fetched_once_into_the_cache(
    server: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="lrsl.data")
    download = {NAME: DownloadConfig(url=f"{server}/train.csv", sha256=SHA256)}
    path = locate("dataset.train", NAME, None, download)
    assert path == tmp_path / "cache" / "lrsl" / "corpus" / "train.csv"
    assert path.read_bytes() == CONTENT
    (tmp_path / "served" / "train.csv").unlink()
    assert locate("dataset.train", NAME, "", download) == path  # an empty data_dir is none
    assert caplog.messages == [f"fetching {NAME} from {server}/train.csv"]
    assert capfd.readouterr() == ("", "")


def test_what_is_not_what_the_checksum_promises_is_refused(server: str, tmp_path: Path) -> None:
    wrong = "0" * 64
    with pytest.raises(InputError) as caught:
        locate("dataset.train", NAME, None, {NAME: DownloadConfig(url=f"{server}/train.csv", sha256=wrong)})
    for part in (NAME, f"{server}/train.csv", wrong, "data_dir=FOLDER"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "cache" / "lrsl" / NAME).exists()


@pytest.mark.parametrize("url", ["{server}/missing.csv", "http://127.0.0.1:9/train.csv"])
def test_a_failing_network_is_one_sentence(server: str, url: str) -> None:
    url = url.format(server=server)
    with pytest.raises(InputError) as caught:
        locate("dataset.train", NAME, None, {NAME: DownloadConfig(url=url, sha256=SHA256)})
    assert str(caught.value).startswith(f"{NAME} could not be fetched from {url} into ")
    assert str(caught.value).endswith(f"name a folder that holds {NAME} with data_dir=FOLDER")
    assert "\n" not in str(caught.value)


def test_data_dir_goes_before_the_public_address(tmp_path: Path) -> None:
    download = {NAME: DownloadConfig(url="http://127.0.0.1:9/train.csv", sha256=SHA256)}
    with pytest.raises(InputError) as caught:
        locate("dataset.train", NAME, str(tmp_path), download)
    assert str(caught.value) == (
        f"{tmp_path / NAME} does not exist; data_dir={tmp_path} must name a folder that holds {NAME}"
    )
    (tmp_path / NAME).parent.mkdir()
    (tmp_path / NAME).touch()
    assert locate("dataset.train", NAME, str(tmp_path), download) == tmp_path / NAME


def test_a_users_file_is_in_the_working_directory_or_else_in_data_dir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"^dataset\.val=x\.csv is no file in the working directory; give the path"):
        locate("dataset.val", "x.csv", None, {})
    with pytest.raises(InputError, match=r"^dataset\.val=x\.csv is no file in the working directory nor in data_dir="):
        locate("dataset.val", "x.csv", str(there), {})
    (there / "x.csv").touch()
    assert locate("dataset.val", "x.csv", str(there), {}) == there / "x.csv"
    assert locate("dataset.val", "x.csv", "~/there", {}) == there / "x.csv"
    assert locate("dataset.val", "~/there/x.csv", None, {}) == there / "x.csv"
    (here / "x.csv").touch()
    assert locate("dataset.val", "x.csv", str(there), {}) == Path("x.csv")


@pytest.mark.parametrize(("url", "sha256"), [("", SHA256), ("http://x", ""), ("http://x", SHA256[:-1] + "g")])
def test_an_address_without_a_checksum_is_refused(url: str, sha256: str) -> None:
    with pytest.raises(InputError, match=r"^dataset\.download"):
        DownloadConfig(url=url, sha256=sha256)
