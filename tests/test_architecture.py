"""The arrows between the packages point down, and files stay small."""

import ast
import re
from collections.abc import Collection, Container, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

import equiaudit
from equiaudit.tasks import TASKS

ROOT = Path(equiaudit.__file__).parent
LONGEST_FILE = 400

LAYERS = (
    ("cli", "__main__"),
    ("api", "testing", "pytest_plugin"),
    ("a task",),
    ("audit", "repair", "report", "gates", "judging", "comparison"),
    ("repair.methods",),
    ("repair.verify", "repair.save", "repair.inspection", "repair.locate"),
    ("repair.canonical", "repair.onnx", "repair.rewrite", "repair.outputs"),
    ("repair.options",),
    ("models", "data", "shifts", "metrics", "sampling", "training", "demo"),
    ("config",),
    ("tasks", "kinds", "graphs"),
    ("results", "registry", "formats"),
    ("errors", "_version", "torch_private"),
)
"""From the top down. A folder in tasks/ is "a task": what lies below asks it by its name alone."""
PUBLIC_LEVEL = 1
"""Of `from equiaudit import scan`: the public names belong to the api."""
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

LIGHT = ("report", "gates", "comparison")
"""They run without torch: on import they may reach results, tasks and errors, lazily metrics."""
NO_TORCH = (
    "results",
    "registry",
    "formats",
    "tasks",
    "data",
    "metrics",
    "errors",
    "config",
    "report",
    "gates",
    "comparison",
)
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
        return named(*rest.split(".")) if head == "equiaudit" else None

    def __repr__(self) -> str:
        return f"{self.where} imports {self.target}"


def part_of(path: Path) -> str:
    return named(*path.relative_to(ROOT).with_suffix("").parts)


@cache
def named(first: str, second: str = "", *rest: str) -> str:
    """The part that a dotted name, or a path, belongs to."""
    if first == "tasks" and (ROOT / first / second / "task.py").exists():
        return "a task"
    return f"{first}.{second}" if f"{first}.{second}" in LEVEL else first


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
    allowed = {"results", "tasks", "kinds", "formats", "errors", "_version", *LIGHT}
    allowed |= {"metrics"} if arrow.lazy else set()
    return arrow.inside not in allowed


def needs_torch(arrow: Arrow) -> bool:
    return arrow.source in NO_TORCH and arrow.target.partition(".")[0] in TORCH


def names_a_task(node: ast.AST) -> bool:
    """A comparison with a task's name, a table by such names, or a type that lists them."""
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        words = {word for side in sides for word in constants(side)}
        return bool(words & PLAIN) or (bool(words & set(TASKS)) and "task" in ast.unparse(node))
    if isinstance(node, ast.Dict):
        words = {word for key in node.keys if key for word in constants(key)}
        return bool(words & PLAIN)
    return bool(isinstance(node, ast.Subscript) and set(constants(node.slice)) & PLAIN)


PLAIN = set(TASKS) - {"image"}
"""Names that mean nothing else."""


def constants(node: ast.AST) -> list[str]:
    return [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and n.value in TASKS]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path, names: Container[str]) -> Iterator[str]:
    """The files that a file imports anywhere in it, for type checkers too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom) and node.module in names:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in names else node.module for name in inner)


def circles(arrows: Mapping[str, Collection[str]]) -> list[list[str]]:
    """What is left after taking away, again and again, what nothing or nobody imports."""
    left = set(arrows)
    while True:
        sources = {name for name in left if not left.isdisjoint(arrows[name])}
        targets = {name for source in left for name in arrows[source]}
        if sources & targets == left:
            return [sorted(left)] if left else []
        left &= sources & targets


def light_closure() -> dict[Path, list[Arrow]]:
    """What is imported as a task is looked up: its folder's files, and what they import."""
    waiting = sorted(ROOT.glob("tasks/*/__init__.py"))
    found: dict[Path, list[Arrow]] = {}
    while waiting:
        path = waiting.pop()
        arrows = [a for a in arrows_of(path, path.read_text(encoding="utf-8")) if not a.lazy]
        found[path] = arrows
        for arrow in arrows:
            near = ROOT.parent / (arrow.target.replace(".", "/") + ".py")
            if arrow.inside == "a task" and near.exists() and near not in found:
                waiting.append(near)
    return found


def test_only_a_task_knows_its_name():
    found = [
        f"{path}:{node.lineno}"
        for path in modules()
        if part_of(path) != "a task" and path != ROOT / "tasks" / "registry.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if names_a_task(node)
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        'model.task == "image"',
        'if "segmentation" != task: pass',
        'x = {"classification": 1}',
        'Task = Literal["auto", "segmentation"]',
        'task in ("classification", "image")',
    ],
)
def test_names_of_tasks_are_noticed(source):
    assert any(map(names_a_task, ast.walk(ast.parse(source))))


SHIFTS = {"crop", "zero-pad"}


def compares_a_kind(node: ast.AST) -> bool:
    """A comparison with the name of a shift kind; of "circular" where it speaks of kinds."""
    if not isinstance(node, ast.Compare):
        return False
    sides = [node.left, *node.comparators]
    words = {n.value for side in sides for n in ast.walk(side) if isinstance(n, ast.Constant)}
    said = ast.unparse(node)
    told = any(word in said for word in ("kind", "shifts", "names", "series"))
    return bool(words & SHIFTS) or ("circular" in words and told)


def test_only_a_kind_knows_its_name():
    found = [
        f"{path}:{node.lineno}"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if compares_a_kind(node)
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    ['series.kind == "circular"', '"circular" in plan.names', 'name in ("crop", "zero-pad")'],
)
def test_names_of_kinds_are_noticed(source):
    assert any(map(compares_a_kind, ast.walk(ast.parse(source))))


def test_nothing_imports_a_task_but_tasks():
    assert [a for a in all_arrows() if a.inside == "a task" and a.source != "a task"] == []


def test_a_task_is_looked_up_without_what_runs_it():
    allowed = {None, "a task", "tasks", "results", "errors"}
    arrows = [a for found in light_closure().values() for a in found]
    assert len(arrows) > 20
    assert [a for a in arrows if a.inside not in allowed] == []
    assert [a for a in arrows if a.target.partition(".")[0] in TORCH | {"numpy", "scipy"}] == []


def test_every_part_has_a_layer():
    assert {part_of(path) for path in modules()} <= set(LEVEL)


def test_no_arrow_goes_up():
    assert [a for a in all_arrows() if goes_up(a)] == []


def private_uses(source: str) -> list[str]:
    """What a file has of torch's private API: modules, and attributes of what torch made."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "torch":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name for name in names if is_private(name)]
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            dotted = ast.unparse(node)
            own = dotted.startswith("torch.") and not dotted.startswith("torch.ops.")
            found += [dotted] if own or node.attr in OF_TORCH else []
        elif isinstance(node, ast.Constant) and node.value in OF_TORCH:
            found.append(str(node.value))
    return found


def is_private(dotted: str) -> bool:
    parts = dotted.split(".")
    hidden = [part for part in parts if part.startswith("_") and not part.startswith("__")]
    return bool(hidden) or "experimental" in parts


OF_TORCH = {
    "_buffers",
    "_c",
    "_codegen",
    "_get_method",
    "_method_names",
    "_modules",
    "_opname",
    "_out_spec",
    "_overloadname",
    "_parameters",
    "_schema",
}
"""Attributes of modules, graphs and operators."""


def test_torchs_private_api_is_in_one_file():
    paths = [path for path in modules() if private_uses(path.read_text(encoding="utf-8"))]
    assert paths == [ROOT / "torch_private.py"]


@pytest.mark.parametrize(
    "source",
    [
        "from torch._ops import OpOverload",
        "from torch.utils import _pytree",
        "from torch.fx.experimental.proxy_tensor import make_fx",
        "torch._C._nn.pad",
        "node.target._schema",
        "getattr(node.target, '_opname', '')",
    ],
)
def test_private_api_is_noticed(source):
    assert private_uses(source)


@pytest.mark.parametrize(
    "source",
    ["torch.ops.aten._to_copy", "self._graph", "from torch import fx", "torch.__version__"],
)
def test_public_api_is_none_of_it(source):
    assert private_uses(source) == []


def test_no_circles_between_files():
    names = {module_name(path): path for path in ROOT.rglob("*.py")}
    arrows = {name: set(imported(path, names)) - {name} for name, path in names.items()}
    assert len(arrows) > 300
    assert circles(arrows) == []


def test_no_circles_between_packages():
    arrows: dict[str, set[str]] = {part_of(path): set() for path in modules()}
    for arrow in all_arrows():
        if arrow.inside in arrows and arrow.inside != arrow.source:
            arrows[arrow.source].add(arrow.inside)
    assert circles(arrows) == []


def test_circles_are_noticed():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]


def test_imports_for_type_checkers_count_as_circles(tmp_path):
    path = tmp_path / "x.py"
    path.write_text("if TYPE_CHECKING:\n    from equiaudit.cli import main\n")
    assert list(imported(path, {"equiaudit.cli": path})) == ["equiaudit.cli"]


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
        ("audit/x.py", "from equiaudit.tasks.maps import frames", goes_up),
        ("results/x.py", "from equiaudit.tasks import TASKS", goes_up),
        ("repair/rewrite/x.py", "from equiaudit.repair.verify import circular", goes_up),
        ("repair/save/x.py", "from equiaudit.repair.methods import method", goes_up),
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
        ("report/x.py", "from equiaudit.tasks import TASKS"),
        ("tasks/maps/x.py", "from equiaudit.audit import engine"),
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


def named_files(text: str) -> list[str]:
    """What the tables of architecture.md name of the repository; <name> stands for any."""
    cells = [cell for line in text.splitlines() if line.startswith("|") for cell in line.split("|")]
    files = [f for cell in cells for f in re.findall(r"`([\w/.<>]+(?:/|\.(?:py|md|json)))`", cell)]
    return [re.sub(r"<\w+>", "*", file) for file in files]


def test_the_files_that_an_addition_touches_are_there():
    files = named_files((ROOT.parent / "docs" / "architecture.md").read_text(encoding="utf-8"))
    assert len(files) > 40
    places = (ROOT, ROOT.parent)
    assert [f for f in files if not any(any(place.glob(f)) for place in places)] == []


def test_a_file_that_is_gone_is_noticed():
    assert named_files("| `a/<b>.py`, `c/` | `d.md` and `e` |") == ["a/*.py", "c/", "d.md"]


def test_the_public_names_are_pinned():
    assert set(equiaudit.__all__) == PUBLIC
    assert all(hasattr(equiaudit, name) for name in PUBLIC)
