"""A password in an address, or a key, is written down nowhere, and a run is known again all the same."""

import json
from pathlib import Path

import pytest
import tiny
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

from lrsl.config.identity import digest, same_run
from lrsl.errors import InputError, said
from lrsl.masking import MASK, masked, masked_command, masked_configuration, without_credentials

SECRET = "hunter2xyz"


@pytest.mark.parametrize(
    "text",
    [
        f"https://user:{SECRET}@example.org/data.csv",
        f"https://{SECRET}@example.org/data.csv",
        f"https://user:p@{SECRET}@example.org/data.csv",
        f"https://user:p/{SECRET}@example.org/data.csv",
        f"s3://key:{SECRET}@bucket/data.csv and more",
        f"https://example.org/data.csv?token={SECRET}",
        f"https://example.org/data.csv?a=1&api_key={SECRET}&b=2",
        f"https://example.org/data.csv?X-Amz-Credential={SECRET}&X-Amz-Signature={SECRET}",
        f"https://example.org/data.csv?X-Amz-Security-Token={SECRET}",
        f"https://example.org/data.csv?AWSAccessKeyId={SECRET}",
        f"https://example.blob.core.windows.net/c?sv=2022&sig={SECRET}",
        f"https://example.org/data.csv?api%5Fkey={SECRET}",
        f"https://example.org/data.csv#access_token={SECRET}",
        f"https://example.org/f?code={SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"authorization=Basic {SECRET}",
        f"{{'Authorization': 'token {SECRET}'}}",
        f"the header was Bearer {SECRET}12345",
        f"api_key_env is sk-{SECRET}{SECRET}; it must be a name",
        f"hf_{SECRET}{SECRET}",
        f"//user:{SECRET}@example.org/data.csv is no file",
        f"https:\\/\\/user:{SECRET}@example.org\\/data.csv",
        f"https://user:p'{SECRET}@example.org/data.csv",
        f'https://user:p"@{SECRET}@example.org/data.csv',
        f"https://example.org/f?passcode={SECRET}&pw={SECRET}",
        f"X-API-Key: {SECRET}",
        f"{{'api_key': '{SECRET}', 'a': 1}}",
        f'{{"password": "{SECRET}"}}',
        f"password: {SECRET}",
        f"--password={SECRET}",
        f"WANDB_API_KEY={SECRET} HF_TOKEN={SECRET}",
        f"DefaultEndpointsProtocol=https;AccountKey={SECRET};",
        f"Cookie: session={SECRET}; other={SECRET}",
        f"(https://user:{SECRET}@example.org), 'https://user:{SECRET}@example.org'",
    ],
)
def test_what_is_said_has_no_credentials(text):
    assert SECRET not in without_credentials(text)
    assert MASK in without_credentials(text)
    assert SECRET not in str(InputError(text))
    assert said(said(text)) == said(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org/@user/data.csv",
        "https://example.org:8080/data@v1.csv",
        "https://example.org/data.csv?page=2&keyboard=1",
        "a bearer certificate",
        "mail me at user@example.org: 12:30",
        "OPENAI_API_KEY",
        "dataset.label=token",
        "the token is lost; lost_password?",
        "api_key_env: OPENAI_API_KEY",
        "the pattern ^\\/\\/ of a path",
        "a // b: c @ d",
    ],
)
def test_what_is_no_secret_stays(text):
    assert without_credentials(text) == text


def test_keys_that_name_secrets_are_masked_wherever_they_lie():
    nested = {
        "view": [{"base_url": "x", "api_key": SECRET, "headers": {"Authorization": SECRET}}],
        "api_key_env": "A_KEY",
    }
    assert SECRET not in json.dumps(masked(nested))
    assert masked(nested)["api_key_env"] == "A_KEY"
    command = [f"+reranker.defer.token={SECRET}", f"reranker.defer={{url: 'https://x', token: {SECRET}}}", "seed=1"]
    assert SECRET not in " ".join(masked_command(command))
    assert masked_command(command)[2] == "seed=1"
    quoted = [f"+x={{api_key: 'two, {SECRET}', a: b}}", f'+x={{password: "it\'s, {SECRET}"}}']
    assert masked_command(quoted) == ["+x={api_key: ***, a: b}", "+x={password: ***}"]
    labels = {"dataset": {"label_texts": {"lost_password": "a lost password"}}}
    assert masked_configuration(labels) == labels
    assert masked_command(["dataset.label_texts.lost_password=gone"]) == ["dataset.label_texts.lost_password=gone"]


def test_another_password_makes_no_other_run():
    first, second, other = (
        {"seed": 0, "dataset": {"download": {"a.csv": {"url": f"https://{user}@example.org/{file}.csv"}}}}
        for user, file in ((f"u:{SECRET}", "a"), ("u:changed", "a"), ("u:changed", "b"))
    )
    assert digest(first) == digest(second) == digest(masked_configuration(first)) != digest(other)
    assert same_run(first, second)
    assert same_run(masked_configuration(first), second)
    assert not same_run(first, other)


def files_with(folder, secret):
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and (secret.encode() in path.read_bytes() or secret in str(path))
    ]


def test_whole_commands_leave_none_of_them_anywhere(tmp_path, tiny_corpus, tiny_bert, warm):
    """A run, a sweep with a job that fails, and the same run again, which is known."""
    url = f"https://user:{SECRET}@example.org/data.csv?token={SECRET}"
    (tmp_path / "own" / "dataset").mkdir(parents=True)
    more = {"more.csv": {"url": url, "sha256": "0" * 64}}
    own = tmp_path / "own" / "dataset" / "mine.yaml"
    own.write_text(f"defaults: [custom]\ndownload: {json.dumps(more)}\n")
    common = [
        *(
            "--config-dir",
            "own",
            "dataset=mine",
            f"dataset.train={tiny_corpus / 'train.csv'}",
            f"dataset.test={tiny_corpus / 'test.csv'}",
        ),
        f"dataset.source='{url}'",
        *(f"model.pretrained={tiny_bert}", f"embedding.pretrained={tiny_bert}", "model.epochs=1", "embedding.epochs=1"),
        *("logger=csv", "trainer=cpu", "trainer.progress=false"),
    ]
    run = str(Path(__file__).resolve().parents[2] / "run.py")
    first = warm(run, *common, "seed=0", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    own.write_text(own.read_text().replace(SECRET, "changed"))
    changed = [argument.replace(SECRET, "changed") for argument in common]
    again = warm(run, *changed, "seed=0", cwd=tmp_path)
    assert "already finished" in again.stdout, again.stdout + again.stderr
    own.write_text(own.read_text().replace("changed", SECRET))
    swept = warm(
        run,
        *common,
        "seed=0",
        f"embedding.pretrained={tiny_bert},https://user:{SECRET}@example.org/m",
        "-m",
        cwd=tmp_path,
    )
    assert swept.returncode == 1
    assert list(tmp_path.glob("multirun_outputs/sweeps/*/report.html")), swept.stderr
    for told in (first, again, swept):
        assert SECRET not in told.stdout + told.stderr
    assert files_with(tmp_path, SECRET) == ["own/dataset/mine.yaml"]
    assert tiny.LABELS


def test_no_name_of_a_run_has_a_password():
    from lrsl.config.mistakes import explain
    from lrsl.run import results

    configuration = {
        "dataset": {"name": f"https://user:{SECRET}@example.org/data"},
        "model": {"name": f"//user:{SECRET}@example.org"},
        "embedding": {"name": f"https://{SECRET}@example.org", "finetune": True, "negatives": "all"},
        "reranker": {"k": 3, "power": 1},
        "seed": 0,
    }
    assert SECRET not in json.dumps(results.settings(configuration))
    assert results.settings(configuration)["seed"] == 0
    with pytest.raises(OverrideParseException) as caught:
        OverridesParser.create().parse_overrides([f"+a.tokens=[token={SECRET}]"])
    assert SECRET not in explain(caught.value)
