"""The total stride of a torch module, from the operators one run of it calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from equiaudit.models.grids import (
    Grid,
    Grids,
    coarsened,
    inherited,
    permuted,
    reshaped,
    resized,
    sliced,
)
from equiaudit.torch_private import TorchDispatchMode, operator_name, schema_of, tree_leaves

_Options = dict[str, Any]
_Rule = Callable[[Grid, Tensor, Tensor, _Options], Grid | None]


def total_stride(
    module: nn.Module, batch: Tensor, *, layout: str = "NCHW"
) -> tuple[int, int] | None:
    """The cumulative stride (rows, columns), px, of the deepest map that is not a single value.

    `module` (eager, scripted or exported) runs once on `batch` (N, C, H, W). Strides of
    convolutions, pools, slices and patch embeddings multiply, upsampling divides, and global
    pooling does not count. None where the run fails, no map is seen, or an operator does
    something to a map that is not known here.
    """
    image = batch.permute(0, 2, 3, 1) if layout == "NHWC" else batch
    tracker = _Tracker(image, Grid(1, 2) if layout == "NHWC" else Grid(2, 3))
    try:
        with torch.no_grad(), tracker:
            module(image)
    except Exception:  # best effort: an operator that cannot be traced leaves it unknown
        return None
    return tracker.grids.total()


class _Tracker(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the grid of every tensor, from the grids of an operator's inputs and its arguments.

    Tensors are kept alive for the run, so that an id is never another tensor's.
    """

    def __init__(self, image: Tensor, grid: Grid) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.grids = Grids(id(image), grid, image.shape)
        self._alive = [image]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returned = func(*args, **(kwargs or {}))
        sources = [id(t) for t in tree_leaves((args, kwargs)) if id(t) in self.grids]
        if sources:
            options = _options(func, args, kwargs or {})
            for output in tree_leaves(returned):
                if isinstance(output, Tensor):
                    self._alive.append(output)
                    self._note(output, func, options, sources)
        return returned

    def _note(self, output: Tensor, func: Any, options: _Options, sources: list[int]) -> None:
        name, source = operator_name(func), next(iter(options.values()))
        strides = _strides(func, options, output)
        rule = _RULES.get(name)
        first = sources[0] == id(source)
        own = self.grids.known(sources[:1])
        samples = strides is not None and any(s != 1 for s in strides)
        if first and own and strides is not None:
            found: Grid | None = coarsened(own[0][0], strides)
        elif first and own and rule is not None:
            found = rule(own[0][0], source, output, options)
        else:
            found = inherited(self.grids.known(sources), output.shape)
        unknown = not self.grids.note(id(output), found, output.shape)
        if unknown and (samples or (self.grids.maps(sources) and name not in _FORGETFUL)):
            self.grids.lose()


def _options(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> _Options:
    """The arguments of an operator by their names, in its order, defaults included."""
    stated = {}
    for place, argument in enumerate(schema_of(func).arguments):
        default = argument.default_value if argument.has_default_value() else None
        given = args[place] if place < len(args) else default
        stated[argument.name] = kwargs.get(argument.name, given)
    return stated


def _strides(func: Any, options: _Options, output: Tensor) -> tuple[Fraction, Fraction] | None:
    """Rows and columns per step of an operator that slides a window, whoever brings it."""
    if output.dim() != 4 or "strided" in operator_name(func):
        return None
    if func.namespace == "quantized" and operator_name(func).startswith("conv"):
        return _packed_strides(operator_name(func), options)
    if "stride_h" in options:  # deformable convolution
        return Fraction(options["stride_h"]), Fraction(options["stride_w"])
    if "stride" not in options:
        return None
    steps = options["stride"] or options.get("kernel_size") or [1]
    steps = [steps] if isinstance(steps, int) else steps
    rows, columns = Fraction(steps[0]), Fraction(steps[-1])
    return (1 / rows, 1 / columns) if options.get("transposed") else (rows, columns)


def _packed_strides(name: str, options: _Options) -> tuple[Fraction, Fraction] | None:
    """Of a quantised convolution, which keeps them with its packed weight."""
    packed = next((v for v in options.values() if isinstance(v, torch.ScriptObject)), None)
    up = "transpose" in name
    if packed is None or "2d" not in name:
        return None
    read: Any = torch.ops.quantized
    rows, columns = (read.conv_transpose2d_stride if up else read.conv2d_stride)(packed)
    return (Fraction(1, rows), Fraction(1, columns)) if up else (Fraction(rows), Fraction(columns))


def _slice(grid: Grid, source: Tensor, output: Tensor, options: _Options) -> Grid | None:
    return sliced(grid, options["dim"] % source.dim(), options["step"])


def _unfold(grid: Grid, source: Tensor, output: Tensor, options: _Options) -> Grid | None:
    return sliced(grid, options["dimension"] % source.dim(), options["step"])


def _permute(grid: Grid, source: Tensor, output: Tensor, options: _Options) -> Grid | None:
    return permuted(grid, options["dims"])


def _transpose(grid: Grid, source: Tensor, output: Tensor, options: _Options) -> Grid | None:
    order = list(range(source.dim()))
    a, b = options["dim0"], options["dim1"]
    order[a], order[b] = order[b], order[a]
    return permuted(grid, order)


def _view(grid: Grid, source: Tensor, output: Tensor, options: _Options) -> Grid | None:
    return reshaped(grid, source.shape, output.shape)


def _resize(grid: Grid, source: Tensor, output: Tensor, options: _Options) -> Grid | None:
    scales = options.get("scale_factors") or [options.get("scales_h"), options.get("scales_w")]
    return resized(grid, source.shape, output.shape, None if None in scales else scales)


def _keep(grid: Grid, source: Tensor, output: Tensor, options: _Options) -> Grid | None:
    return grid


_RULES: dict[str, _Rule] = {
    "slice": _slice,
    "unfold": _unfold,
    "permute": _permute,
    "transpose": _transpose,
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "_reshape_alias"), _view),
    **dict.fromkeys(("constant_pad_nd", "reflection_pad2d", "replication_pad2d"), _keep),
    **dict.fromkeys(
        (
            "_adaptive_avg_pool2d",
            "adaptive_avg_pool2d",
            "adaptive_max_pool2d",
            "max_unpool2d",
            "pixel_shuffle",
            "pixel_unshuffle",
            "upsample_nearest2d",
            "_upsample_nearest_exact2d",
            "upsample_bilinear2d",
            "upsample_bicubic2d",
            "_upsample_bilinear2d_aa",
            "_upsample_bicubic2d_aa",
        ),
        _resize,
    ),
}
# What may end a map without sampling it: positions are laid out in a line, summed or mixed, or
# regions are cut out of it. Any other operator that loses the grid of a map leaves the stride
# unknown.
_FORGETFUL = frozenset(
    {"view", "_unsafe_view", "reshape", "_reshape_alias", "mean", "sum", "prod", "amax", "amin",
     "max", "min", "var", "var_mean", "std", "std_mean", "norm", "linalg_vector_norm", "aminmax",
     "logsumexp", "all", "any", "argmax", "argmin", "topk", "sort", "nonzero", "count_nonzero",
     "mm", "bmm", "addmm", "baddbmm", "matmul", "linear", "einsum", "dot", "mv",
     "native_group_norm", "native_layer_norm", "native_batch_norm",
     "_native_batch_norm_legit_no_training",
     "_native_batch_norm_legit", "cudnn_batch_norm", "_batch_norm_with_update",
     "max_pool2d_with_indices", "adaptive_max_pool2d", "_fft_r2c", "_fft_c2c", "_fft_c2r",
     "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "nms",
     "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention",
     "_scaled_dot_product_efficient_attention", "_fused_sdp_choice", "isfinite", "equal"}
)  # fmt: skip
