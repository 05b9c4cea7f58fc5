"""The page on which a text is tried: what it loads, and what it shows in Chromium."""

import json
import re
import time
from pathlib import Path

import chromium
import pytest
import tiny_server
from tiny import LABELS, samples
from tiny_server import logits_of, serving

from experiments import report
from lrsl import serving as room
from lrsl.serving.served import Served

PAGE = Path(room.__file__).parent / "page"
ATTACK = "<img src=x onerror=\"document.title='attacked'\"><script>document.title='attacked'</script>"


@pytest.fixture(scope="module")
def fitted(tiny_bert):
    return tiny_server.fitted(tiny_bert, names=[ATTACK, "CASH", "LOAN", "RATE"])


def test_it_loads_nothing_from_elsewhere_and_runs_nothing_inline(fitted):
    with serving(Served.whole("mine", fitted)) as client:
        status, page, headers = client.ask("/")
        assert status == 200
        assert headers.get_content_type() == "text/html"
        policy = headers["Content-Security-Policy"]
        for name, kind in (("page.css", "text/css"), ("page.js", "text/javascript")):
            assert client.ask(f"/{name}")[2].get_content_type() == kind
    assert "'unsafe" not in policy
    assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= set(policy.split("; "))
    asked_for = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert set(asked_for) == {"data:,", "page.css", "page.js", "#text", "openapi.json", "health", "metrics"}
    assert not re.search(r"<script(?! src)|<style| style=| on\w+=", page)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", (PAGE / "page.js").read_text())


def test_its_colours_are_those_of_the_report():
    """Whose contrast is measured."""
    ours, theirs = (
        re.findall(r":root \{(.*?)\}", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for path in (PAGE / "page.css", Path(report.__file__).parent / "page.css")
    )
    for mine, its in zip(ours, theirs, strict=True):
        colours = re.findall(r"--\w+: #[0-9a-f]{6}", mine)
        assert len(colours) == 10
        assert set(colours) <= set(re.findall(r"--\w+: #[0-9a-f]{6}", its))


def fill(browser, field, value):
    browser.run(
        "const it = document.getElementById(arguments[0]); it.value = arguments[1]; "
        "it.dispatchEvent(new Event('input', { bubbles: true }))",
        field,
        value,
    )


def asked(browser, **fields):
    """Fill the form in, press the button, and return what the page says when it is done."""
    for field, value in fields.items():
        fill(browser, field, value)
    browser.run("document.getElementById('send').click()")
    until = time.monotonic() + 30
    while browser.run("return document.getElementById('send').hasAttribute('aria-disabled')"):
        assert time.monotonic() < until
        time.sleep(0.05)
    return text(browser, "error") or text(browser, "state")


def text(browser, name):
    return browser.run("return document.getElementById(arguments[0]).textContent", name)


def loaded(browser, address):
    browser.call("url", url=address)
    until = time.monotonic() + 30
    while browser.run("return document.getElementById('ask').hidden"):
        assert time.monotonic() < until
        time.sleep(0.05)


CELLS = """
    const cells = (row) => Array.from(row.children, (cell) => cell.firstChild.textContent);
    return Array.from(document.querySelectorAll("#rows tr"), cells);
"""
NAMELESS = """
    return Array.from(document.querySelectorAll("textarea, button, a, table"))
      .filter((one) => one.getClientRects().length)
      .filter((one) => !(one.labels?.length || one.textContent.trim() || one.ariaLabel)).length;
"""
WIDER = """
    const edge = document.documentElement.clientWidth + 1;
    return Array.from(document.body.querySelectorAll(":not(.skip, thead, thead *)"))
      .filter((one) => one.getBoundingClientRect().right > edge).map((one) => one.outerHTML.slice(0, 80));
"""


@pytest.mark.timeout(600)  # a browser takes its time to start on a busy machine
def test_in_a_browser(fitted, tmp_path):
    texts, _ = samples(200, seed=5)
    explained = fitted.explain(texts)
    best = [max(one.candidates, key=lambda candidate: candidate.before).name for one in explained]
    hard = next(n for n, one in enumerate(explained) if one.hard and one.answer != best[n])
    easy = next(n for n, one in enumerate(explained) if not one.hard)
    with (
        serving(Served.whole(ATTACK, fitted)) as whole,
        serving(Served("mine", fitted.reranker)) as bare,
        chromium.opened(tmp_path / "profile") as browser,
    ):
        address = f"http://127.0.0.1:{whole.port}/"
        browser.resize(1280)
        loaded(browser, address)
        assert text(browser, "name") == ATTACK
        assert not browser.run("return document.getElementById('logits-field').offsetParent")

        # what hesitates, and what changes
        assert asked(browser, text=texts[hard]) == f"Hard. Answer: {explained[hard].answer}."
        assert text(browser, "answer") == explained[hard].answer
        assert f"Its answer was “{best[hard]}”" in text(browser, "what")
        assert "below the threshold" in text(browser, "scale-caption")
        shown = browser.run(CELLS)
        assert [row[0] for row in shown] == [one.name for one in explained[hard].candidates]
        assert [float(row[1]) for row in shown] == pytest.approx(
            [c.before for c in explained[hard].candidates], abs=1e-4
        )
        assert [float(row[-1]) for row in shown] == pytest.approx(
            [c.after for c in explained[hard].candidates], abs=1e-4
        )
        assert browser.run("return document.querySelector('#rows .move.up').textContent").startswith("↑ up ")
        place, edge = (
            browser.run(f"return parseFloat(document.getElementById('{one}').style.{side})")
            for one, side in (("mark", "left"), ("below", "width"))
        )
        assert place < edge

        assert asked(browser, text=texts[easy]) == f"Easy. Answer: {explained[easy].answer}."
        assert "its answer stands" in text(browser, "what")
        assert "not below the threshold" in text(browser, "scale-caption")

        # what is typed stays text, and so do labels
        assert asked(browser, text=ATTACK).startswith(("Hard. ", "Easy. "))
        assert browser.run("return document.images.length") == 0
        assert "attacked" not in browser.run("return document.title").replace(ATTACK, "")
        assert asked(browser, text="x" * 30_000) == "texts[0] has 30,000 characters; it may have 20,000"
        assert browser.run("return document.getElementById('result').hidden")
        errors = browser.console()
        assert len(errors) == 1  # by the browser itself, of the answer that refuses
        assert "413" in errors[0]["message"]

        # by keys, on any width, in light and in dark
        fill(browser, "text", texts[hard])
        browser.run(
            "document.getElementById('text').dispatchEvent("
            "new KeyboardEvent('keydown', { key: 'Enter', ctrlKey: true, bubbles: true }))"
        )
        time.sleep(0.2)
        assert asked(browser) == f"Hard. Answer: {explained[hard].answer}."
        assert browser.run(NAMELESS) == 0
        for width in (1280, 700, 400, 320):
            browser.resize(width)
            assert browser.run("return document.documentElement.scrollWidth") <= width
            assert browser.run(WIDER) == [], width
        background = "return getComputedStyle(document.body).backgroundColor"
        light = browser.run(background)
        browser.resize(1280, dark=True)
        assert browser.run(background) != light
        assert set(browser.requests()) == {address + path for path in ("", "page.css", "page.js", "health", "explain")}

        # a reranker alone is told the logits
        address = f"http://127.0.0.1:{bare.port}/"
        loaded(browser, address)
        logits = logits_of([texts[hard]])[0].tolist()
        assert asked(browser, text=texts[hard], logits=json.dumps(logits)) == f"Hard. Answer: {explained[hard].answer}."
        likeliest = sorted(zip(logits, fitted.names, strict=True), reverse=True)[:3]
        given = json.dumps({name: value for value, name in likeliest})
        assert asked(browser, text=texts[hard], logits=given) == f"Hard. Answer: {explained[hard].answer}."
        for wrong, says in (
            ("2 1", "no JSON"),
            ("7", "must be a list"),
            ('{"CASH": 1}', "at least the 3"),
            ('{"cash": 1, "LOAN": 2, "RATE": 3}', "“cash” is no label"),
            ('{"CASH": "1", "LOAN": "a", "RATE": 3}', "finite"),
            ('{"CASH": null, "LOAN": 2, "RATE": 3}', "finite"),
        ):
            assert says in asked(browser, text="a", logits=wrong), wrong
        assert browser.run("return document.querySelectorAll('#labels li').length") == len(LABELS)
        assert browser.console() == []
        assert browser.requests()
        assert "logits[0] has 2 values" in asked(browser, text="a", logits="[1, 2]")
