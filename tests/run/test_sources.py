import importlib
import sys
from pathlib import Path

import pytest

from lrsl.run.sources import UnknownSourceError, files_named, sources, targets


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a module `overlap`, what it imports, and what that imports."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words").mkdir()
    for name, text in {
        "overlap.py": (
            "import json\nimport numpy\nfrom lrsl import View\nfrom words import count\n\n\n"
            "class Overlap(View):\n    def fit(self, given):\n        import late\n        return late\n"
        ),
        "words/__init__.py": "from .count import counted\n",
        "words/count.py": "from . import stop as stopped\n\nLEXICON = 'lexicon.txt'\n\n\ndef counted(): ...\n",
        "words/stop.py": "import importlib\n\nother = importlib.import_module('by_name')\n",
        "by_name.py": "",
        "late.py": "try:\n    import not_there_at_all\nexcept ImportError:\n    pass\n",
        "unrelated.py": "",
        "lexicon.txt": "the",
        "words/lexicon.txt": "a",
    }.items():
        (tmp_path / name).write_text(text)
    return tmp_path


READ = {"overlap", "words", "words.count", "words.stop", "by_name", "late"}


@pytest.mark.parametrize("target", ["overlap.Overlap", "overlap:Overlap", "overlap", "overlap.Overlap.fit"])
def test_all_that_a_name_imports_is_read_and_nothing_is_run(own: Path, target: str) -> None:
    found = sources(target)
    assert set(found) == {*READ, "numpy", "not_there_at_all"}
    assert found["numpy"] == __import__("numpy").__version__
    assert found["not_there_at_all"] == "missing"
    assert READ.isdisjoint(sys.modules)


@pytest.mark.parametrize("name", sorted(READ))
def test_an_edit_of_any_of_them_is_seen(own: Path, name: str) -> None:
    before = sources("overlap.Overlap")
    path = own / (name.replace(".", "/") + ("/__init__.py" if name == "words" else ".py"))
    path.write_text(path.read_text() + "\n# more\n")
    after = sources("overlap.Overlap")
    assert {module for module in before if before[module] != after[module]} == {name}


def test_a_process_that_still_runs_what_a_module_was_says_so(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(own)
    monkeypatch.delitem(sys.modules, "unrelated", raising=False)
    importlib.import_module("unrelated")
    try:
        before = sources("unrelated")["unrelated"]
        (own / "unrelated.py").write_text("changed = True\n")
        after = sources("unrelated")["unrelated"]
        assert after.endswith(f", loaded as {before}")
    finally:
        del sys.modules["unrelated"]
    assert sources("unrelated")["unrelated"] == after.partition(",")[0]  # what another process loads


def test_what_is_not_imported_does_not_count(own: Path) -> None:
    before = sources("overlap.Overlap")
    (own / "unrelated.py").write_text("changed = True\n")
    assert sources("overlap.Overlap") == before
    (own / "not_there_at_all.py").write_text("")  # from now on it is imported
    assert sources("overlap.Overlap") != before


def test_files_that_a_module_names_are_found_beside_it_and_in_the_working_directory(own: Path) -> None:
    before = files_named("overlap.Overlap")
    assert set(before) == {str(own / "lexicon.txt"), str(own / "words" / "lexicon.txt")}
    (own / "words" / "lexicon.txt").write_text("an")
    after = files_named("overlap.Overlap")
    assert [path for path in before if before[path] != after[path]] == [str(own / "words" / "lexicon.txt")]


@pytest.mark.parametrize(
    "text",
    [
        "from importlib import import_module\nother = import_module('a' + 'b')\n",
        "other = __import__(input())\n",
        "exec(open('x').read())\n",
    ],
)
def test_what_is_imported_by_a_name_that_is_computed_is_unknown(own: Path, text: str) -> None:
    (own / "late.py").write_text(text)
    with pytest.raises(UnknownSourceError, match="late imports what it computes the name of"):
        sources("overlap.Overlap")


def test_a_name_without_a_module_is_unknown(own: Path) -> None:
    with pytest.raises(UnknownSourceError, match=r"nowhere\.Overlap is not found"):
        sources("nowhere.Overlap")


def test_a_module_that_does_not_parse_is_read_all_the_same(own: Path) -> None:
    (own / "overlap.py").write_text("class Overlap(:\n")
    assert set(sources("overlap.Overlap")) == {"overlap"}


def test_the_names_in_settings_are_found_wherever_they_stand() -> None:
    settings = {
        "detector": {"_target_": "lrsl.Margin"},
        "view": {"_target_": "mine.View", "inner": {"_target_": "mine.Inner"}},
        "rules": [{"name": "x", "views": ["lexical", {"_target_": "other.View"}]}],
    }
    assert list(targets(settings)) == ["mine.View", "mine.Inner", "other.View"]


def test_what_hydra_looks_up_by_its_path_is_a_name() -> None:
    function = {"_target_": "hydra.utils.get_method", "path": "mine.score"}
    assert list(targets({"_target_": "lrsl.Margin", "by": function})) == ["hydra.utils.get_method", "mine.score"]


READS = {
    "parts": ("P = Path(__file__).parent / 'data' / 'deep' / 'words.txt'", "data/deep/words.txt"),
    "joined": ("P = os.path.join(os.path.dirname(__file__), 'data', 'words.txt')", "data/words.txt"),
    "f-string": ("P = f'{HERE}/data/words.txt'", "data/words.txt"),
    "sum": ("P = HERE + '/words.txt'", "words.txt"),
    "above": ("P = Path(__file__).parents[1] / 'data' / 'words.txt'", "../data/words.txt"),
    "pattern": ("P = Path(__file__).parent.glob('data/*.txt')", "data/words.txt"),
    "listed": ("P = os.listdir('data')", "data/words.md"),
    "ending": ("P = Path(__file__).with_suffix('.txt')", "reads.txt"),
    "model": ("P = SentenceTransformer('weights')", "weights/config.json"),
}


@pytest.mark.parametrize(("text", "file"), READS.values(), ids=READS)
def test_files_that_a_module_names_in_parts_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, file: str
) -> None:
    package = tmp_path / "mine"
    package.mkdir()
    monkeypatch.chdir(package)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    (package / "reads.py").write_text(f"import os\nfrom pathlib import Path\n{text}\n")
    path = (package / file).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("the")
    (package / "unnamed.txt").write_text("the")
    before = files_named("mine.reads.View")
    path.write_text("an")
    after = files_named("mine.reads.View")
    assert {Path(name).resolve() for name in before if before[name] != after[name]} == {path}
    assert not [name for name in before if name.endswith("unnamed.txt")]


def test_folders_are_read_whole_only_where_a_module_lists_them(own: Path) -> None:
    (own / "by_name.py").write_text("FOLDER = 'words'\nROOT = '/'\nEVERY = '*'\n")
    before = set(files_named("overlap.Overlap"))
    (own / "by_name.py").write_text("FOLDER = 'words'\nROOT = '/'\nEVERY = '*'\nFOLDER.rglob('*')\n")
    more = set(files_named("overlap.Overlap")) - before
    assert more == {str(own / "words" / name) for name in ("__init__.py", "count.py", "stop.py")}


def test_more_files_than_can_be_read_are_unknown(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lrsl.run.sources.MOST_FILES", 2)
    (own / "by_name.py").write_text("import os\nos.listdir('words')\n")
    with pytest.raises(UnknownSourceError, match="by_name reads more than 2 files"):
        files_named("overlap.Overlap")


@pytest.mark.parametrize(
    "text",
    [
        "import os\nX = os.getenv('MINE_WORDS', '3')\n",
        "import os\nX = os.environ['MINE_WORDS']\n",
        "import os as system\nX = 'MINE_WORDS' in system.environ\n",
        "from os import environ as e\nX = e.get('MINE_WORDS')\n",
        "from os import getenv as get\nX = get('MINE_WORDS')\n",
    ],
)
def test_variables_that_a_module_reads_count(own: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (own / "by_name.py").write_text(text)
    monkeypatch.delenv("MINE_WORDS", raising=False)
    found = []
    for value in ("1", "2", ""):
        found.append(files_named("overlap.Overlap")["$MINE_WORDS"])
        monkeypatch.setenv("MINE_WORDS", value)
    assert len({*found, files_named("overlap.Overlap")["$MINE_WORDS"]}) == 4


def test_variables_that_hold_secrets_or_are_only_set_do_not_count(own: Path) -> None:
    (own / "by_name.py").write_text(
        "import os\nX = os.environ['MINE_API_KEY']\nos.environ['MINE_WORDS'] = '1'\nos.environ.update({'A': '1'})\n"
    )
    assert not [name for name in files_named("overlap.Overlap") if name.startswith("$")]
    (own / "by_name.py").write_text("import os\nX = os.environ['MINE' + '_WORDS']\n")
    with pytest.raises(UnknownSourceError, match="by_name reads a variable that it computes the name of"):
        files_named("overlap.Overlap")


def test_folders_without_a_module_of_their_own_are_packages_too(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("words/more", "bare/inner"):
        (own / folder).mkdir(parents=True)
        (own / folder / "last.py").write_text("")
    (own / "words" / "stop.py").write_text("from .more.last import nothing\n")
    monkeypatch.syspath_prepend(own)
    for name in ("words", "bare"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert {"words.more", "words.more.last"} <= set(sources("overlap.Overlap"))
    assert set(sources("bare.inner.last.View")) == {"bare.inner.last", "bare.inner"}
