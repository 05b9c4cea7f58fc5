import ast
import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

import lrsl
from lrsl.commands import store as store_command
from lrsl.run.store import Entry
from lrsl.screen import literal
from lrsl.sweep import summary

ODD = "[/x] [bold]b[/] :smile: \\[red] 12"
ROOM = Path(lrsl.__file__).parent


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)


def shown(console: Console) -> str:
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_any_text_is_shown_as_it_is(console: Console) -> None:
    table = Table(title=literal(f"title {ODD}"))
    table.add_column(literal(f"head {ODD}"))
    table.add_row(literal(f"cell {ODD}"))
    console.print(table)
    console.print(literal(ODD))
    assert [shown(console).count(part + ODD) for part in ("head ", "title ", "cell ", "\n")] == [1, 1, 1, 1]


def test_the_store_lists_names_as_they_are(console: Console) -> None:
    entry = Entry("classifier", Path("0123"), f"{ODD}, bert", 10, 0.0)
    store_command.show([entry], Path("[/cache]"), console)
    assert f"{ODD}, bert" in shown(console)
    assert "[/cache]: 1 results" in shown(console)


def test_a_sweep_shows_names_and_reasons_as_they_are(console: Console) -> None:
    found = summary.Summary(ODD, "[/m]", "dataset.name=[/x]", seeds=[0], failed=[f"a job: {ODD}"])
    summary.show([found], console)
    for part in (ODD, "[/m]", "dataset.name=[/x]", f"failed: a job: {ODD}"):
        assert part in shown(console)


@pytest.mark.parametrize("path", [path for path in ROOM.rglob("*.py") if "rich" in path.read_text()], ids=str)
def test_no_string_reaches_the_console_but_through_literal(path: Path) -> None:
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "console.print":
            assert not isinstance(call.args[0], ast.JoinedStr | ast.Constant | ast.BinOp), ast.unparse(call)
