"""The table of rules, and what a rule is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import torch.fx as fx

from equiaudit.graphs.nodes import bind, module_path, op_name, shape_of, short_name
from equiaudit.repair.rewrite.grid import FLAT, Grid
from equiaudit.repair.rewrite.plan import OpPlan, Refuse, State, Step


@dataclass(frozen=True)
class Call:
    """A node under analysis, with what is known of its inputs."""

    node: fx.Node
    states: Mapping[fx.Node, State]

    @cached_property
    def args(self) -> dict[str, Any]:
        """Arguments by schema name."""
        return bind(self.node)

    def state(self, node: Any) -> State:
        """What is known of an input."""
        return self.states.get(node) if isinstance(node, fx.Node) else None

    @property
    def image(self) -> Grid:
        """The grid of the input image."""
        grids = (s for s in self.states.values() if isinstance(s, Grid) and s.is_map)
        return next(grids, FLAT)

    def grid(self, node: Any) -> Grid:
        """The grid of an input; flat for constants and numbers."""
        state = self.state(node)
        return state if isinstance(state, Grid) else FLAT

    def varies(self, node: Any) -> bool:
        """Whether an input may differ from position to position."""
        state = self.state(node)
        return not isinstance(state, Grid) or bool(state.present)

    def map(self, node: Any) -> Grid:
        """The grid of an input that must be a (B, C, H, W) map."""
        grid = self.grid(node)
        if not (grid.is_map and len(shape_of(node)) == 4):
            raise Refuse(f"{op_name(self.node)} on a tensor that is not laid out as (B, C, H, W)")
        return grid

    def plan(self, effect: str, **facts: Any) -> OpPlan:
        """An `OpPlan` for this node."""
        node = self.node
        return OpPlan(node.name, module_path(node), short_name(node), effect, **facts)


Rule: TypeAlias = Callable[[Call], Step]
RULES: dict[str, Rule] = {}
PAIR_RULES: dict[str, Rule] = {}
"""What is known to do with a value per pair of positions; nothing else may read one."""


def rule(names: Iterable[str]) -> Callable[[Rule], Rule]:
    """Register a rule for operators by base name: `conv2d` stands for `aten.conv2d.*`."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def pair_rule(names: Iterable[str]) -> Callable[[Rule], Rule]:
    """Register a rule for operators that read `Pairs`."""

    def register(function: Rule) -> Rule:
        PAIR_RULES.update(dict.fromkeys(names, function))
        return function

    return register
