"""The arrows between the packages point down, and files stay small."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import equiaudit

ROOT = Path(equiaudit.__file__).parent
LONGEST_FILE = 400

LAYERS = (
    ("cli", "__main__"),
    ("api", "testing"),
    ("audit", "repair", "report", "gates", "judging", "comparison", "config"),
    ("models", "data", "shifts", "metrics", "sampling", "training", "demo"),
    ("results",),
    ("errors", "_version"),
)
PUBLIC_LEVEL = 1
"""Of `from equiaudit import scan`: the public names belong to the api."""
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

LIGHT = ("report", "gates", "comparison")
"""They run without torch: on import they may reach results and errors, and lazily metrics."""
NO_TORCH = ("results", "data", "metrics", "errors", "config", "report", "gates", "comparison")
TORCH = {"torch", "torchvision", "onnxruntime", "timm"}

PUBLIC = {
    "EquiauditError",
    "Estimate",
    "InputError",
    "NothingToDo",
    "Result",
    "RunError",
    "__version__",
    "compare",
    "fix",
    "inspect",
    "load_model",
    "load_result",
    "scan",
    "verify",
}


class Arrow:
    """One import: from part to part of the package, or to another distribution."""

    def __init__(self, path: Path, node: ast.stmt, target: str, lazy: bool) -> None:
        self.source = part_of(path)
        self.where = f"{path.relative_to(ROOT.parent)}:{node.lineno}"
        self.target = target
        self.lazy = lazy

    @property
    def inside(self) -> str | None:
        """The part of equiaudit it points at, None for another package."""
        head, _, rest = self.target.partition(".")
        return rest.partition(".")[0] if head == "equiaudit" else None

    def __repr__(self) -> str:
        return f"{self.where} imports {self.target}"


def part_of(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def modules() -> list[Path]:
    return [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"]


def arrows_of(path: Path, source: str) -> Iterator[Arrow]:
    """Every import that runs; those for type checkers alone are no dependency."""
    yield from _walk(path, ast.parse(source), lazy=False)


def _walk(path: Path, node: ast.AST, lazy: bool) -> Iterator[Arrow]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield from (Arrow(path, child, name, lazy) for name in _targets(child))
        else:
            inner = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _walk(path, child, inner)


def _targets(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    assert node.level == 0, "imports are absolute, so that this test can read them"
    if node.module == "equiaudit":
        return [f"equiaudit.{alias.name}" for alias in node.names]
    return [node.module or ""]


def all_arrows() -> list[Arrow]:
    return [a for path in modules() for a in arrows_of(path, path.read_text(encoding="utf-8"))]


def goes_up(arrow: Arrow) -> bool:
    inside = arrow.inside
    return inside is not None and LEVEL.get(inside, PUBLIC_LEVEL) < LEVEL[arrow.source]


def too_heavy(arrow: Arrow) -> bool:
    """A light part that loads more than results, errors and light parts as it is imported."""
    if arrow.source not in LIGHT or arrow.inside is None or arrow.inside == arrow.source:
        return False
    allowed = {"results", "errors", "_version", *LIGHT} | ({"metrics"} if arrow.lazy else set())
    return arrow.inside not in allowed


def needs_torch(arrow: Arrow) -> bool:
    return arrow.source in NO_TORCH and arrow.target.partition(".")[0] in TORCH


def test_every_part_has_a_layer():
    assert {part_of(path) for path in modules()} <= set(LEVEL)


def test_no_arrow_goes_up():
    assert [a for a in all_arrows() if goes_up(a)] == []


def test_reports_and_gates_see_results_only():
    assert [a for a in all_arrows() if too_heavy(a)] == []


def test_what_reads_results_and_images_needs_no_torch():
    assert [a for a in all_arrows() if needs_torch(a)] == []


@pytest.mark.parametrize(
    ("file", "source", "rule"),
    [
        ("models/x.py", "from equiaudit.audit import engine", goes_up),
        ("models/x.py", "from equiaudit import cli", goes_up),
        ("results/x.py", "def f():\n    import equiaudit.data", goes_up),
        ("report/x.py", "from equiaudit.metrics import y", too_heavy),
        ("gates.py", "def f():\n    from equiaudit.data import y", too_heavy),
        ("data/x.py", "def f():\n    import torch.nn", needs_torch),
    ],
)
def test_the_rules_notice(file, source, rule):
    (arrow,) = arrows_of(ROOT / file, source)
    assert rule(arrow)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("cli/x.py", "from equiaudit.report import render"),
        ("gates.py", "def f():\n    from equiaudit.metrics import y"),
        ("audit/x.py", "import torch"),
        ("report/x.py", "from equiaudit.report import words"),
    ],
)
def test_the_rules_allow(file, source):
    (arrow,) = arrows_of(ROOT / file, source)
    assert not any(rule(arrow) for rule in (goes_up, too_heavy, needs_torch))


def test_imports_for_type_checkers_are_no_arrows():
    source = "if TYPE_CHECKING:\n    import equiaudit.cli"
    assert list(arrows_of(ROOT / "results" / "x.py", source)) == []


def test_files_stay_small():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules()}
    assert {str(path): n for path, n in lengths.items() if n > LONGEST_FILE} == {}


def test_the_public_names_are_pinned():
    assert set(equiaudit.__all__) == PUBLIC
    assert all(hasattr(equiaudit, name) for name in PUBLIC)
