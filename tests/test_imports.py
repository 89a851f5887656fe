"""The order of the rooms, held by reading every import of the package: who may know whom, and who may load what."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "rsir_scale"
# A module imports from its own room and from those before it. A new room is a decision: it is entered here and in
# docs/architecture.md.
ROOMS = (
    {
        "errors",
        "config",
        "randomness",
        "storage",
        "environment",
        "steps",
        "extension",
    },
    {"data"},
    {"runs"},
    {"models"},
    {"ranking"},
    {"evaluation"},
    {"training"},
    {"augmenters"},
    {"generation"},
    {"loop"},
    {"verification"},
    {"outputs"},
    {"analysis"},
    {"studies"},
    {"report"},
    {"cli"},
    {"__main__"},
)
LIGHT_ROOMS = ROOMS[0] | ROOMS[1] | ROOMS[2]
MAY_IMPORT_RAY = {
    "rsir_scale.training.network",
    "rsir_scale.training.reservations",
    "rsir_scale.training.trainer",
    "rsir_scale.generation.pool",
    "rsir_scale.loop.driver",
    "rsir_scale.studies.schedule",
}
HEAVY = {"torch", "ray"}
IMPORT_TO_PACKAGE = {"yaml": "pyyaml", "sklearn": "scikit-learn"}
MAX_MODULE_LINES = 300
MAX_JOB_LINES = 40


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
JOBS = {_name(path): path for path in sorted((ROOT / "jobs").glob("*.py"))}


def _imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it; `from a import b` gives a.b where that is a module of ours."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        yield from _names_of(node)


def _names_of(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            yield inner if inner in MODULES else node.module


def _own_imports(module: str) -> set[str]:
    found = set(_imports(MODULES[module]))
    return {name for name in found if name.split(".")[0] == "rsir_scale" and name not in {"rsir_scale", module}}


def _floor(module: str) -> int:
    room = module.split(".")[1]
    for floor, rooms in enumerate(ROOMS):
        if room in rooms:
            return floor
    pytest.fail(f"{module}: the room {room!r} is not in ROOMS; place it there and in docs/architecture.md")


def _loaded_on_import(tree: ast.Module) -> Iterator[str]:
    """Modules that importing the file loads: not those inside functions or under TYPE_CHECKING."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting.extend(node.orelse)
            continue
        yield from _names_of(node)
        waiting.extend(ast.iter_child_nodes(node))


def _light_modules() -> list[str]:
    return [name for name in MODULES if name == "rsir_scale" or name.split(".")[1] in LIGHT_ROOMS]


# The package's own __init__ is the front door: it points at load_model, the last thing to be built.
@pytest.mark.parametrize("module", [name for name in MODULES if name != "rsir_scale"])
def test_a_module_imports_only_from_its_own_room_and_rooms_before_it(module: str) -> None:
    own_floor = _floor(module)
    below = sorted(name for name in _own_imports(module) if _floor(name) > own_floor)
    assert not below, f"{module} imports {below}, which come after it in the order of the rooms"


def test_no_imports_go_round_in_a_circle() -> None:
    graph = {module: _own_imports(module) - {"rsir_scale"} for module in MODULES if module != "rsir_scale"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' → '.join(error.args[1])}")


@pytest.mark.parametrize("module", [*MODULES, *JOBS])
def test_only_the_named_modules_import_ray(module: str) -> None:
    path = {**MODULES, **JOBS}[module]
    if any(name.split(".")[0] == "ray" for name in _imports(path)):
        assert module in MAY_IMPORT_RAY, f"{module} imports ray; only {sorted(MAY_IMPORT_RAY)} may"


@pytest.mark.parametrize("module", _light_modules())
def test_the_first_rooms_name_neither_torch_nor_ray_at_module_level(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    assert not {name.split(".")[0] for name in _loaded_on_import(tree)} & HEAVY


def _heavy_after_importing(*modules: str) -> str:
    lines = [f"import {module}" for module in modules]
    script = "\n".join(["import sys", *lines, f"print(sorted({HEAVY!r} & sys.modules.keys()))"])
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_first_rooms_loads_neither_torch_nor_ray() -> None:
    assert _heavy_after_importing(*_light_modules()) == "[]"


def test_importing_the_command_line_loads_neither_torch_nor_ray() -> None:
    assert _heavy_after_importing("rsir_scale.cli.main") == "[]"


def test_every_package_that_is_imported_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [*project["dependencies"], *project["optional-dependencies"]["cpu"]]
    declared = {re.match(r"[A-Za-z0-9_-]+", requirement)[0].lower() for requirement in requirements}
    imported = {name.split(".")[0] for path in [*MODULES.values(), *JOBS.values()] for name in _imports(path)}
    foreign = {IMPORT_TO_PACKAGE.get(name, name) for name in imported - sys.stdlib_module_names - {"rsir_scale"}}
    assert foreign <= declared, f"add {sorted(foreign - declared)} to pyproject.toml and constraints.txt"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_stays_small(module: str) -> None:
    lines = len(MODULES[module].read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_MODULE_LINES, f"{module} has {lines} lines: what is it two of?"


@pytest.mark.parametrize("job", JOBS)
def test_a_job_script_only_calls_the_package(job: str) -> None:
    assert len(JOBS[job].read_text(encoding="utf-8").splitlines()) <= MAX_JOB_LINES
