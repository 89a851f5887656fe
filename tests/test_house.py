"""The order of what lies beside the package: benchmarks, tests and what both share; sizes; commands that pages name."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Who may know whom, of the folders at the root.
MAY_IMPORT = {
    "rsir_scale": set(),
    "jobs": {"rsir_scale"},
    "devtools": {"rsir_scale"},
    "benchmarks": {"rsir_scale", "devtools"},
    "tests": {"rsir_scale", "jobs", "devtools"},
}
# A room of benchmarks imports from itself and from this one; a room's tests, from it and from other tests.
SHARED_ROOM = "record"
MAX_LINES = 300
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "Makefile", *ROOT.glob("benchmarks/**/*.py")]
# Run in an environment or on a version of their own, which another benchmark makes.
CALLED_BY_OTHERS = {
    "benchmarks.speed.rectools_epoch",
    "benchmarks.speed.epoch_worker",
    "benchmarks.speed.evaluation_worker",
}
COMMAND = re.compile(r"python -m\s+(benchmarks\.[\w.]*\w)")
FILE = re.compile(r"\b(?<!/)(?:benchmarks|devtools|tests)/[\w/.-]*\w\.\w+")


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {_name(path): path for top in MAY_IMPORT for path in sorted((ROOT / top).rglob("*.py"))}
BENCHMARKS = {name: path for name, path in SOURCES.items() if name.split(".")[0] == "benchmarks"}
COMMANDS = [name for name, path in BENCHMARKS.items() if '__name__ == "__main__"' in path.read_text(encoding="utf-8")]
KERNELS = sorted(path for path in ROOT.glob("rsir_scale/*/kernel/*") if path.is_file())


def _imports(path: Path) -> Iterator[str]:
    """Every module of this repository that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in SOURCES else node.module for name in inner)


@cache
def _of_repository(path: Path) -> set[str]:
    return {name for name in _imports(path) if name.split(".")[0] in MAY_IMPORT}


@pytest.mark.parametrize("top", MAY_IMPORT)
def test_a_folder_at_the_root_imports_only_what_it_may(top: str) -> None:
    for name, path in SOURCES.items():
        if name.split(".")[0] == top:
            found = {imported.split(".")[0] for imported in _of_repository(path)}
            assert found <= MAY_IMPORT[top] | {top}, f"{name} imports {sorted(found - MAY_IMPORT[top] - {top})}"


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_imports_from_its_own_room_and_the_shared_one(name: str) -> None:
    rooms = {imported.split(".")[1] for imported in _of_repository(BENCHMARKS[name]) if imported in BENCHMARKS}
    known = _rooms_known_to(name)
    assert rooms <= known, f"{name} imports from {sorted(rooms - known)}"


def _rooms_known_to(name: str) -> set[str]:
    _, *path = name.split(".")
    return {*path[:1], *path[1:2]} if path[:1] == ["tests"] else {*path[:1], SHARED_ROOM}


def test_no_imports_of_benchmarks_go_round_in_a_circle() -> None:
    graph = {name: _of_repository(path) & BENCHMARKS.keys() - {name} for name, path in BENCHMARKS.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' → '.join(error.args[1])}")


@pytest.mark.parametrize("name", [name for name in SOURCES if name.split(".")[0] in {"benchmarks", "devtools"}])
def test_a_module_beside_the_package_stays_small(name: str) -> None:
    lines = len(SOURCES[name].read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{name} has {lines} lines: what is it two of?"


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_of_a_kernel_stays_small(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{path.name} has {lines} lines: what is it two of?"


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_leaves_the_import_path_alone(name: str) -> None:
    tree = ast.parse(BENCHMARKS[name].read_text(encoding="utf-8"))
    changed = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    assert "sys.path" not in changed, f"{name} bends sys.path: run it as `python -m {name}` from the root"


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - CALLED_BY_OTHERS))
def test_a_benchmark_opens_with_the_command_that_runs_it(name: str) -> None:
    told = ast.get_docstring(ast.parse(BENCHMARKS[name].read_text(encoding="utf-8"))) or ""
    assert name in COMMAND.findall(told), f"the first lines of {name} do not say `python -m {name} …`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_benchmark_that_a_page_names_is_there_under_that_name(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert set(COMMAND.findall(text)) - {"benchmarks.ROOM.NAME"} <= set(COMMANDS)
    assert [file for file in FILE.findall(text) if not (ROOT / file).exists()] == []
