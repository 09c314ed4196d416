"""Where a record comes from: the code that made it, versions, the machine."""

import ast
import hashlib
import platform
import re
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]
LIBRARIES = ("torch", "numpy", "scipy", "neuraloperator")
SAID = {"question", "why_fewer_seeds", "link", "conclusion", "rows", "figure"}


def _path(module: str) -> Path | None:
    """The file of a module of this package; None for anything else."""
    where = PACKAGE.joinpath(*module.split(".")[1:])
    for path in (where.with_suffix(".py"), where / "__init__.py"):
        if path.is_file():
            return path
    return None


def _imports(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    # `mldemo` itself re-exports the public names and is imported for its version only; `store`
    # moves bytes whose sha256 is checked, and a record's inputs name those of the files it reads
    ours = {name for name in found if name.startswith("mldemo.")}
    return {name for name in ours if not f"{name}.".startswith("mldemo.store.")}


class _Computing(ast.NodeTransformer):
    """Removes what cannot change a result: docstrings, and how a study presents it (`SAID`)."""

    def visit(self, node: ast.AST) -> ast.AST:
        node = self.generic_visit(node)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
            if isinstance(node, ast.ClassDef) and "Study" in map(_name, node.bases):
                node.body = [part for part in node.body if _name(part) not in SAID]
            node.body = node.body or [ast.Pass()]
        return node


def _name(node: ast.AST) -> str | None:
    """The name that a statement defines or that a node is."""
    if isinstance(node, ast.AnnAssign):
        node = node.target
    return getattr(node, "id", None) or getattr(node, "name", None)


@lru_cache(maxsize=512)
def _parsed(text: str) -> tuple[tuple[str, ...], str]:
    """The modules of this package that a source text imports, and its code (`_Computing`)."""
    tree = _Computing().visit(ast.parse(text))
    return tuple(sorted(_imports(tree))), ast.dump(tree)


@lru_cache(maxsize=64)
def code_hash(module: str) -> str:
    """A digest of a module and of every module of this package that it imports, transitively.

    Not of `store`, which cannot change a result. Comments, docstrings and layout do not count, nor
    does the presentation of a finished record (`SAID`): a record stays current while the code that
    made it computes the same.
    """
    if find_spec(module) is None:
        raise ValueError(f"there is no module {module!r}")
    todo, parts = [module], {}
    while todo:
        name = todo.pop()
        path = _path(name)
        if path is None or path in parts:
            continue
        imports, parts[path] = _parsed(path.read_text("utf-8"))
        todo += imports
    digest = hashlib.sha256()
    for path in sorted(parts):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + parts[path].encode())
    return digest.hexdigest()[:16]


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide numerical results."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def machine() -> dict[str, Any]:
    """Processor, system and number of threads, as far as they are known."""
    import torch

    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", info.read_text("utf-8", "replace"), re.M)
        model = found[1] if found else model
    return {"processor": model, "system": platform.system(), "threads": torch.get_num_threads()}
