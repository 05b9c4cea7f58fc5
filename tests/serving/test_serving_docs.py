"""The page on `lrsl serve` is true: what it types works as it stands."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import tiny_server
from tiny import LABELS
from tiny_server import serving

from lrsl.commands import completion
from lrsl.commands.serve import _parser
from lrsl.serving.app import ENDPOINTS
from lrsl.serving.limits import Limits
from lrsl.serving.served import Served

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "serve.md").read_text(encoding="utf-8")
HERE = "http://127.0.0.1:8000"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def client(tiny_bert):
    with serving(Served("my-reranker", tiny_server.fitted(tiny_bert, names=None).reranker)) as client:
        yield client


def test_the_commands_are_those_that_there_are():
    typed = [*re.findall(r"^lrsl serve .*", PAGE, re.M), *re.findall(r"`(lrsl serve [^`]*)`", PAGE)]
    assert len(typed) == 2
    for line in typed:
        assert _parser().parse_args(shlex.split(line)[2:]).host == "127.0.0.1"
    flags = set(re.findall(r"--[a-z][a-z-]+", PAGE))
    assert flags < set(completion.FLAGS["serve"])
    assert set(re.findall(r"`(?:POST|GET) (/\S+)`", PAGE)) < set(ENDPOINTS)


def test_the_flags_are_completed_and_say_what_the_limits_are():
    actions = {action.option_strings[-1]: action.default for action in _parser()._actions if action.option_strings}
    assert set(actions) == set(completion.FLAGS["serve"])
    limits = Limits()
    assert (actions["--max-rows"], actions["--batch-rows"], actions["--queue-rows"]) == (
        limits.rows,
        limits.batch_rows,
        limits.queue_rows,
    )
    assert (actions["--max-mb"] * 2**20, actions["--timeout"], actions["--wait-ms"]) == (
        limits.body_bytes,
        limits.seconds,
        limits.wait_ms,
    )
    for said in (f"{limits.characters:,} characters", f"{limits.connections} connections"):
        assert said in " ".join(PAGE.split())
    assert f"within {limits.head_seconds:g} seconds and bodies within {limits.body_seconds:g}" in " ".join(PAGE.split())


def test_its_python_runs(client, capsys):
    (code,) = blocks("python")
    exec(compile(code.replace(HERE, f"http://127.0.0.1:{client.port}"), "serve.md", "exec"), {})
    answer, hard = capsys.readouterr().out.split()
    assert answer in LABELS
    assert hard in ("True", "False")


def test_its_curl_runs(client):
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    command = next(line for block in blocks("bash") for line in block.splitlines() if line.startswith("curl"))
    typed = shlex.split(command.replace(HERE, f"http://127.0.0.1:{client.port}"))
    done = subprocess.run(typed, capture_output=True, text=True, check=True)
    (found,) = json.loads(done.stdout)["explanations"]
    assert found["answer"] in LABELS


def test_what_is_counted_is_there(client):
    counted = client.ask("/metrics")[1]
    for name in set(re.findall(r"lrsl_\w+", PAGE)):
        assert f"\n{name}" in counted, name
