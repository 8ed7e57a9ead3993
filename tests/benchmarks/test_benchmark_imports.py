"""What a benchmark borrows from the tests is where it looks for it."""

import ast
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
def test_modules_are_found(path, monkeypatch):
    tree = ast.parse(path.read_text("utf-8"))
    folders = [str(path.parent)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "sys.path.insert":
            folders.append(eval(ast.unparse(node.args[1]), {"Path": Path, "__file__": str(path)}))
    own = {str(each) for each in Path(__file__).parents[1].rglob("*") if each.is_dir()}
    others = [each for each in sys.path if each not in own]
    monkeypatch.setattr(sys, "path", [*folders, *others])
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and "." not in node.module:
            name = node.module
            local = any((Path(folder) / f"{name}.py").is_file() for folder in folders)
            assert local or name in sys.stdlib_module_names or not in_tests(name), name


def in_tests(name):
    """Whether it is a module of the tests, or nowhere."""
    there = any(Path(__file__).parents[1].rglob(f"{name}.py"))
    return there or find_spec(name) is None
