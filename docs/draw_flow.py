"""Draw what LRSL does with one text.

python docs/draw_flow.py

The text and its numbers are made up; what follows from them is computed by the paper's rule. Written without a plotting
library, so that the same lines give the same file everywhere.
"""

from __future__ import annotations

import math
import statistics
from html import escape
from pathlib import Path

FLOW = Path(__file__).with_name("flow.svg")

TEXT = ("I still haven’t got", "the card you sent me")
LABELS = ("lost card", "card arrival", "order a card")
LOGITS = (4.7, 4.6, 2.7)
SIMILARITY = (0.21, 0.78, 0.55)
THRESHOLD = 1.03

STYLE = """
  text { font: 13px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1a1a1a }
  .small { font-size: 11.5px; fill: #595959 }
  .name { font-weight: 600 }
  .card { fill: #ffffff; stroke: #d0d0d0 }
  .box { fill: #f4f6f8; stroke: #8c959f }
  .rule { fill: #fff4e0; stroke: #e69f00 }
  .arrow { stroke: #595959; stroke-width: 1.5; fill: none }
  .tip { fill: #595959 }
  .bar { fill: #56b4e9 }
  .best { fill: #0072b2 }
  .wrong { fill: #d55e00 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f0f0 }
    .small { fill: #b8c0c8 }
    .card { fill: #161b22; stroke: #444c56 }
    .box { fill: #21262d; stroke: #768390 }
    .rule { fill: #3a2c10; stroke: #e69f00 }
    .arrow { stroke: #b8c0c8 }
    .tip { fill: #b8c0c8 }
    .bar { fill: #3d7ea6 }
    .best { fill: #56b4e9 }
  }"""


def reranked() -> list[float]:
    """Return eq. 10 of the three labels: similarity × softmax(logits)."""
    odds = [math.exp(logit) for logit in LOGITS]
    return [s * o / sum(odds) for s, o in zip(SIMILARITY, odds, strict=True)]


def svg() -> str:
    """Return the picture."""
    variance = statistics.pvariance(LOGITS)
    assert variance < THRESHOLD  # the picture is of a hard sample
    parts = [
        '<rect class="card" x="0.5" y="20.5" width="899" height="359" rx="10"/>',
        box(20, 40, 190, 108, "a text"),
        words(34, 90, f"“{TEXT[0]}", f"{TEXT[1]}”"),
        arrow("M210 94 L", 231, 94),
        box(240, 40, 150, 108, "your classifier"),
        words(254, 90, "as it is, whatever", "gives logits", kind="small"),
        arrow("M390 94 L", 411, 94),
        *bars(420, 40, 220, "logits", LOGITS, "{:.1f}", wrong=0),
        arrow("M640 94 L", 661, 94),
        box(670, 40, 210, 108, "hesitating?", kind="rule"),
        words(684, 90, f"variance {variance:.2f} &lt; σ²<tspan dy='3' font-size='9'>mis</tspan>", raw=True),
        words(684, 110, f"of the largest logits;  {THRESHOLD:.2f}", "was learnt on validation", kind="small"),
        arrow("M790 148 L", 790, 201, down=True),
        box(700, 210, 180, 78, "no: an easy sample"),
        words(714, 254, "keeps the", "classifier’s answer", kind="small"),
        arrow("M720 148 V180 H130 L", 130, 201, down=True),
        words(420, 171, "yes: a hard sample", kind="name"),
        *bars(20, 210, 220, "similarity", SIMILARITY, "{:.2f}", note="of the text and each label’s text,"),
        words(34, 346, "from a fine-tuned embedding", kind="small"),
        words(254, 284, "×"),
        box(275, 210, 130, 150, "softmax"),
        words(289, 332, "of the logits", kind="small"),
        words(289, 258, *(f"{value / s:.2f}" for value, s in zip(reranked(), SIMILARITY, strict=True)), step=22),
        arrow("M405 284 L", 426, 284),
        *bars(435, 210, 230, "new ranking", reranked(), "{:.2f}", note="“card arrival” now stands first"),
    ]
    body = "\n".join(f"  {part}" for part in parts if part)
    title = "What LRSL does: samples on which a classifier hesitates are ranked anew by what the labels mean"
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 20 900 360" width="900" height="360" role="img">\n'
        f"  <title>{title}</title>\n  <style>{STYLE}\n  </style>\n{body}\n</svg>\n"
    )


def box(x: int, y: int, width: int, height: int, name: str, kind: str = "box") -> str:
    """Return a box with its name at the top."""
    frame = f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>'
    return frame + words(x + 14, y + 24, name, kind="name")


def words(x: int, y: int, *lines: str, kind: str = "", step: int = 18, raw: bool = False) -> str:
    """Return lines of text, one below the other."""
    attribute = f' class="{kind}"' if kind else ""
    return "".join(
        f'<text{attribute} x="{x}" y="{y + i * step}">{line if raw else escape(line)}</text>'
        for i, line in enumerate(lines)
        if line
    )


def arrow(path: str, x: int, y: int, *, down: bool = False) -> str:
    """Return an arrow along a path, with its tip at the path's end."""
    tip = f"{x - 4},{y} {x},{y + 8} {x + 4},{y}" if down else f"{x},{y - 4} {x + 8},{y} {x},{y + 4}"
    return f'<path class="arrow" d="{path} {x} {y}"/><polygon class="tip" points="{tip}"/>'


def bars(
    x: int,
    y: int,
    width: int,
    name: str,
    values: tuple[float, ...] | list[float],
    written: str,
    wrong: int | None = None,
    note: str = "",
) -> list[str]:
    """Return a box with a bar per label, the largest set off."""
    parts = [box(x, y, width, 150 if note else 108, name)]
    for i, (label, value) in enumerate(zip(LABELS, values, strict=True)):
        row = y + 48 + i * 22
        kind = "wrong" if i == wrong else "best" if value == max(values) else "bar"
        length = round((width - 150) * value / max(values))
        parts.append(words(x + 14, row, label, kind="small"))
        parts.append(f'<rect class="{kind}" x="{x + 92}" y="{row - 10}" width="{length}" height="11" rx="2"/>')
        parts.append(words(x + 98 + length, row, written.format(value), kind="small"))
    return [*parts, words(x + 14, y + 118, note, kind="small")]


if __name__ == "__main__":
    FLOW.write_text(svg(), encoding="utf-8")
    print(FLOW)
