"""The plan of the house: the reading order of the rooms is the order of imports."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "mldemo"
# Each room may import what stands before it.
ORDER = (
    *("machine", "space", "data", "networks", "diffusion", "store", "training"),
    *("request", "pipeline", "editing", "images", "public", "metrics", "studies"),
    *("ui", "bundling", "cli", "__main__"),
)
PYTHON = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted(PACKAGE.rglob("*.js"))


def named(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> set[str]:
    """Modules of the package that a file imports, anywhere in it."""
    found, modules = set(), {named(p) for p in PYTHON}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & modules
            found |= inner or {node.module}
    return {name for name in found if name.split(".")[0] == "mldemo"}


@pytest.mark.parametrize("path", PYTHON, ids=named)
def test_no_import_points_upwards(path: Path) -> None:
    name = named(path)
    if name == "mldemo":  # the public names, whatever their room
        return
    room = name.split(".")[1]
    for other in imported(path):
        if other == "mldemo":
            assert room in ("ui", "studies", "bundling", "cli"), f"{name} imports the package"
            continue
        assert ORDER.index(other.split(".")[1]) <= ORDER.index(room), f"{name} imports {other}"


def test_no_python_import_goes_round_in_a_circle() -> None:
    graph = {named(p): imported(p) - {"mldemo", named(p)} for p in PYTHON}
    assert len(tuple(TopologicalSorter(graph).static_order())) >= len(PYTHON)  # raises on a cycle


def scripts_of(path: Path) -> set[str]:
    """What a script imports, at once or when it is needed."""
    found = re.findall(r'(?:from|import)\s*\(?"(\.[^"]+\.js)"', path.read_text("utf-8"))
    return {(path.parent / name).resolve().relative_to(PACKAGE).as_posix() for name in found}


def test_no_script_imports_in_a_circle() -> None:
    graph = {p.relative_to(PACKAGE).as_posix(): scripts_of(p) for p in SCRIPTS}
    assert {name for names in graph.values() for name in names} <= graph.keys()
    assert len(tuple(TopologicalSorter(graph).static_order())) == len(SCRIPTS)


def test_what_tabs_share_knows_no_tab() -> None:
    for path in SCRIPTS:
        if path.parent.name == "static":
            assert not [name for name in scripts_of(path) if "/tabs/" in name], path


def test_few_modules_stand_beside_the_rooms() -> None:
    beside = [p.stem for p in PACKAGE.glob("*.py")]
    rooms = {p.name for p in PACKAGE.iterdir() if (p / "__init__.py").is_file()}
    assert len(beside) <= 10
    assert rooms | set(beside) - {"__init__"} == set(ORDER)
