"""analyse: an aten graph -> what every operation does to shift equivariance, and a plan."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from math import lcm

import torch
import torch.fx as fx

from equiaudit.graphs.nodes import module_path, op_name, shape_of, short_name, tensor_args
from equiaudit.repair.rewrite.grid import FLAT, Axis, Grid, Pairs
from equiaudit.repair.rewrite.plan import (
    CANONICAL,
    Analysis,
    OpPlan,
    Refusal,
    Refuse,
    SizeRule,
    State,
    Step,
)
from equiaudit.repair.rewrite.rules import PAIR_RULES, RULES, Call
from equiaudit.repair.rewrite.rules.passing import verbatim
from equiaudit.repair.rewrite.tail import tail_step

__all__ = ["Analysis", "OpPlan", "Refusal", "SizeRule", "analyse"]


class _Walk:
    """One pass over the graph, in order; keeps what is known so far."""

    def __init__(self, gm: fx.GraphModule, framed: bool, *, early: bool = False) -> None:
        self.gm = gm
        self.framed = framed
        self.early = early
        self.tail: set[fx.Node] = set()
        self.states: dict[fx.Node, State] = {}
        self.steps: dict[str, Step] = {}
        self.refusals: list[Refusal] = []
        self.refused: list[OpPlan] = []
        self.broken: set[fx.Node] = set()
        self.strides: tuple[set[int], set[int]] = (set(), set())
        self.size = (0, 0)

    def run(self) -> None:
        for node in self.gm.graph.nodes:
            if node.op == "placeholder":
                self.states[node] = self._input(node)
            elif node.op == "call_function":
                self._call(node)
            elif node.op == "output":
                self._output(node)
            elif node.op == "get_attr":
                self.states[node] = FLAT

    def _input(self, node: fx.Node) -> Grid:
        """The first image-shaped input sets the size; other inputs carry no position."""
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor) or value.dim() != 4 or self.size != (0, 0):
            return FLAT
        height, width = shape_of(node)[-2:]
        self.size = (height, width)
        return Grid(Axis(-2, Fraction(1), height), Axis(-1, Fraction(1), width))

    def _call(self, node: fx.Node) -> None:
        if any(source in self.broken for source in node.all_input_nodes):
            self.broken.add(node)
            return
        call = Call(node, self.states)
        try:
            step = self._step(call)
            self._nests(step.out)
        except Refuse as refusal:
            self._refuse(call, refusal)
            return
        if step.tail:
            self.tail.add(node)
        self.states[node] = step.out
        self.steps[node.name] = step

    def _output(self, node: fx.Node) -> None:
        """Maps and lines of tokens can be put back in place; nothing else that varies can."""
        for source in node.all_input_nodes:
            state = self.states.get(source)
            if isinstance(state, Pairs) or (isinstance(state, Grid) and state.shared):
                why = "it returns positions of the image mixed with other axes"
                self.refusals.append(Refusal(source.name, module_path(source), why, CANONICAL))

    def _step(self, call: Call) -> Step:
        """By its rule; with `framed` what has none, and all behind it, is the tail."""
        if any(source in self.tail for source in call.node.all_input_nodes):
            return tail_step(call)
        if not self.framed:
            return plan_node(call)
        try:
            step = plan_node(call)
        except Refuse:
            return tail_step(call)
        rows = self.early and isinstance(step.out, Grid) and bool(step.out.shared)
        return tail_step(call) if step.collapse or rows else step

    def _nests(self, out: State) -> None:
        """Levels of one axis must divide each other, or no offset could serve them all."""
        for grid in out if isinstance(out, tuple) else (out,):
            for axis, stride in enumerate(grid.strides if isinstance(grid, Grid) else ()):
                if stride.numerator > 1 and stride.denominator > 1:
                    raise Refuse(f"its map lies at a fractional stride of {stride}")
                known = self.strides[axis]
                if stride > 1 and any(stride % s and s % stride for s in known):
                    raise Refuse(f"strides {sorted({*known, int(stride)})} do not nest")
                known |= {int(stride)} if stride > 1 else set()

    def _refuse(self, call: Call, why: Refuse) -> None:
        node = call.node
        self.broken.add(node)
        self.refusals.append(Refusal(node.name, module_path(node), why.reason, why.remedy))
        self.refused.append(call.plan("cannot be converted", refusal=why.reason))


def plan_node(call: Call) -> Step:
    """The rule for a node; what has no rule may pass when no image reaches it."""
    if not _is_tensor(call.node):
        return verbatim(call, None)  # a number, such as the batch size
    name, sources = short_name(call.node), tuple(tensor_args(call.node))
    pairs = any(isinstance(call.state(source), Pairs) for source in sources)
    rule = (PAIR_RULES if pairs else RULES).get(name)
    if rule is not None:
        return rule(call)
    if pairs:
        raise Refuse(f"{op_name(call.node)} on a value per pair of positions")
    if any(map(call.varies, sources)):
        raise Refuse(f"there is no rule for {op_name(call.node)}")
    return verbatim(call)


def _is_tensor(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor | tuple | list)


def analyse(gm: fx.GraphModule, *, one_size: bool = False, framed: bool = False) -> Analysis:
    """Analyse an aten graph (training IR of `torch.export`, fixed H and W, a 4-D image input).

    `one_size`: the file that it came from takes images of this size only. `framed`: from where
    an operation has no rule on, the graph is run as it is, in a frame that goes with the image; its
    outputs are to be moved by that (see `tail`).

    Never raises for what the graph contains: what cannot be converted is in `.refusals`.
    """
    walk = _Walk(gm, framed)
    walk.run()
    if framed and walk.refusals:
        # Rows of several anchors per place cannot be rolled: the tail begins where they are made.
        early = _Walk(gm, framed, early=True)
        early.run()
        walk = walk if early.refusals else early
    total = (lcm(*walk.strides[0], 1), lcm(*walk.strides[1], 1))
    refusals = (*_size_refusal(gm, walk.size, total, one_size), *walk.refusals)
    grids = {n.name: s for n, s in walk.states.items() if isinstance(s, Grid)}
    return Analysis(
        ops=_in_order(gm, walk),
        grids=grids,
        total_stride=total,
        input_size=walk.size,
        refusals=refusals,
        outputs=tuple(_outputs(gm, walk)),
        collapses=tuple(_collapses(walk)),
        steps=walk.steps,
    )


def _in_order(gm: fx.GraphModule, walk: _Walk) -> tuple[OpPlan, ...]:
    plans = {op.node: op for op in walk.refused}
    plans |= {name: step.op for name, step in walk.steps.items() if step.op is not None}
    return tuple(plans[node.name] for node in gm.graph.nodes if node.name in plans)


def _outputs(gm: fx.GraphModule, walk: _Walk) -> Iterable[Grid | None]:
    output = next(node for node in gm.graph.nodes if node.op == "output")
    for value in output.all_input_nodes:
        state = walk.states.get(value)
        yield state if isinstance(state, Grid) and state.present else None


def _collapses(walk: _Walk) -> Iterable[str]:
    for name, step in walk.steps.items():
        if step.collapse:
            yield name


def _size_refusal(
    gm: fx.GraphModule, size: tuple[int, int], total: tuple[int, int], one_size: bool
) -> tuple[Refusal, ...]:
    rule = SizeRule(total)
    image = next((n for n in gm.graph.nodes if n.op == "placeholder"), None)
    if size == (0, 0) or image is None:
        reason = "no input is a batch of images (B, C, H, W)"
        return (Refusal(image.name if image else "input", "", reason, CANONICAL),)
    if rule.fits(*size):
        return ()
    below, above = rule.near(*size)
    flag, verb = ("", "export the model again at") if one_size else ("--size ", "use")
    near = " or ".join(f"{flag}{h}x{w}" for h, w in dict.fromkeys((below, above)))
    reason = f"an input of {size[0]}x{size[1]} has no whole grids at stride {total[0]}x{total[1]}"
    return (Refusal(image.name, "", reason, f"{verb} {near}, or use --method canonical"),)
