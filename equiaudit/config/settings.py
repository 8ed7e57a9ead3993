"""Every setting, declared once: its type, its check, its default and its flag."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from equiaudit.config.checks import (
    Auto,
    Floats,
    Size,
    a_word,
    assignments,
    bounds,
    lines,
    listed,
    one_of,
    or_word,
)
from equiaudit.config.checks import device as check_device
from equiaudit.config.flags import Flag
from equiaudit.formats import FORMATS
from equiaudit.kinds import FINEST, FRACTION, KINDS, RESAMPLERS, usual
from equiaudit.tasks import TASKS

_MODEL, _DATA, _SHIFTS = "Model", "Data", "Shifts"
_RUN, _JUDGE, _OUTPUT = "Run", "Gates", "Output"


class Settings(BaseModel):
    """Everything that can be set, checked; the defaults are those of `equiaudit.scan`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    arch: Annotated[
        str | None,
        Flag(
            _MODEL,
            "What a state dict belongs to: torchvision:NAME, timm:NAME or pkg.module:factory.",
            "NAME",
        ),
    ] = None
    weights: Annotated[
        str | None,
        Flag(
            _MODEL,
            "Which weights of a checkpoint: ema, raw, or a key or prefix in it (ema before raw).",
            "ema|raw|KEY",
        ),
    ] = None
    trust: Annotated[
        bool,
        Flag(
            _MODEL,
            "Load a file although that runs code it contains. Here only, never from settings.",
        ),
    ] = False
    size: Annotated[
        Size, Flag(_MODEL, "Window the model sees, px; one number for a square.", "HxW")
    ] = None
    mean: Annotated[
        Floats, Flag(_MODEL, "Per channel, on RGB in [0, 1]: 0.485,0.456,0.406.", "R,G,B")
    ] = None
    std: Annotated[Floats, Flag(_MODEL, "Per channel, on RGB in [0, 1].", "R,G,B")] = None
    image_range: Annotated[
        tuple[float, float] | None,
        BeforeValidator(bounds),
        Flag(
            _MODEL,
            "Black and white of images with more than 8 bits: 0,4095 of 12 bits, -1,1 of floats.",
            "LOW,HIGH",
        ),
    ] = None
    preprocess: Annotated[
        Path | None,
        Flag(_MODEL, "TOML with channel order, pixel range, resize, dtype and layout.", "FILE"),
    ] = None
    save_preprocess: Annotated[
        bool,
        Flag(_MODEL, "Keep what this run knows of the model's input and output in MODEL.toml."),
    ] = False
    task: Annotated[
        str,
        a_word(("auto", *TASKS)),
        Flag(_MODEL, f"What the model does: {listed(('auto', *TASKS))}.", "TASK"),
    ] = "auto"
    threshold: Annotated[
        float | None,
        Field(gt=0, lt=1),
        Flag(_MODEL, "Probability above which binary and multilabel say yes (0.5).", "T"),
    ] = None
    output_name: Annotated[
        str | None,
        Flag(_MODEL, "Which output tensor to judge, where the model has several.", "NAME"),
    ] = None
    output_layout: Annotated[
        Literal["auto", "NCHW", "NHWC"],
        Flag(_MODEL, "Where a map that the model returns has its channels.", "auto|NCHW|NHWC"),
    ] = "auto"
    input: Annotated[
        tuple[str, ...],
        BeforeValidator(assignments),
        Flag(
            _MODEL,
            "Value of an input of an ONNX file that is not the image: a number, or zeros.",
            "NAME=VALUE",
            repeats=True,
        ),
    ] = ()
    detector: Annotated[
        str | None,
        Flag(
            _MODEL,
            "How boxes are made of the outputs: a preset (yolox, ...), TOML file or pkg:function.",
            "PRESET|FILE",
        ),
    ] = None
    stride: Annotated[
        Size, Flag(_MODEL, "Total stride of the model, px, where it cannot be found.", "N|HxW")
    ] = None
    device: Annotated[
        str,
        BeforeValidator(check_device),
        Flag(_MODEL, "Where the model runs: auto, cpu, cuda or cuda:N.", "DEVICE"),
    ] = "auto"
    backend: Annotated[
        Literal["auto", "torch", "compile", "onnxruntime", "openvino"],
        Flag(_MODEL, "What runs it: auto, torch, compile, onnxruntime or openvino.", "NAME"),
    ] = "auto"

    layout: Annotated[
        str,
        Flag(
            _DATA,
            "How DATA is laid out: auto, or a name that equiaudit layouts lists.",
            "NAME",
        ),
    ] = "auto"
    labels: Annotated[
        str | None, Flag(_DATA, "Table with the columns file and label, or its URL.", "FILE")
    ] = None
    class_order: Annotated[
        Literal["string", "natural", "index"] | None,
        Flag(
            _DATA,
            "How class folders are counted: string (ImageFolder), natural (timm) or index.",
            "ORDER",
        ),
    ] = None
    class_names: Annotated[
        str | None,
        Flag(_DATA, "The model's classes in order: a name per line, JSON, or CSV.", "FILE"),
    ] = None
    classes: Annotated[
        str | None,
        Flag(_DATA, "CSV with name, index and colour of mask classes, or its URL.", "FILE"),
    ] = None
    ignore_index: Annotated[
        int | None, Flag(_DATA, "Value of mask pixels to leave out (255).", "N")
    ] = None
    split: Annotated[
        str | None,
        Flag(
            _DATA, "Which part of a data set: train, val or test; the layout has a default.", "NAME"
        ),
    ] = None
    no_mask: Annotated[
        Literal["refuse", "background"] | None,
        Flag(_DATA, "What an image without a mask means: refuse, or background.", "WHAT"),
    ] = None
    mask_offset: Annotated[
        int | None, Flag(_DATA, "Added to mask values: -1 where id 1 is the model's class 0.", "N")
    ] = None
    mask_threshold: Annotated[
        int | None,
        Field(ge=1),
        Flag(_DATA, "Mask values from N on are class 1, others class 0.", "N"),
    ] = None
    mask_orientation: Annotated[
        Literal["stored", "upright"] | None,
        Flag(_DATA, "How masks lie of images that EXIF turns: stored or upright.", "HOW"),
    ] = None
    output_range: Annotated[
        tuple[float, float] | None,
        BeforeValidator(bounds),
        Flag(
            _MODEL,
            "Black and white of the images that an image-to-image model returns (0,1).",
            "LOW,HIGH",
        ),
    ] = None
    limit: Annotated[
        int | None, Field(ge=1), Flag(_DATA, "Use N images, drawn with the seed.", "N")
    ] = None

    shifts: Annotated[
        tuple[str, ...],
        one_of(tuple(KINDS)),
        Flag(_SHIFTS, f"Kinds of shift, comma separated: {', '.join(KINDS)}.", "KINDS"),
    ] = usual()
    max_shift: Annotated[
        int, Field(ge=1), Flag(_SHIFTS, "Furthest shift along each axis, px.", "PX")
    ] = 16
    offsets: Annotated[
        int | Literal["full"],
        or_word("full", 2),
        Flag(_SHIFTS, "Shifts per image and kind, or full for all of them.", "K|full"),
    ] = 16
    fraction: Annotated[
        int,
        Field(ge=1, le=FINEST),
        Flag(_SHIFTS, "subpixel and fractional shifts are multiples of 1/N px.", "N"),
    ] = FRACTION
    resampler: Annotated[
        str,
        a_word(RESAMPLERS),
        Flag(_SHIFTS, f"How subpixel finds values between pixels: {listed(RESAMPLERS)}.", "NAME"),
    ] = RESAMPLERS[0]
    seed: Annotated[
        int, Field(ge=0), Flag(_SHIFTS, "Chooses offsets and the images of --limit.", "N")
    ] = 0
    protocol: Annotated[
        str | None,
        Flag(
            _SHIFTS,
            "A published protocol in place of the above: zhang2019, mass, aps, alias-free, rics,"
            " tips, caps; of the shifts above manfredi2020.",
            "NAME",
        ),
    ] = None

    batch_size: Annotated[
        int | Auto, or_word("auto", 1), Flag(_RUN, "Images per forward pass.", "auto|N")
    ] = "auto"
    workers: Annotated[
        int | Auto, or_word("auto", 1), Flag(_RUN, "Threads that decode images.", "auto|N")
    ] = "auto"
    engine: Annotated[
        Literal["local", "ray"], Flag(_RUN, "Where the work is done: local or ray.", "NAME")
    ] = "local"
    address: Annotated[
        str,
        Flag(
            _RUN,
            "Of the Ray cluster: auto (one that runs here, or else a new one), local, HOST:PORT.",
            "auto|ADDRESS",
        ),
    ] = "auto"
    resume: Annotated[bool, Flag(_RUN, "Go on from what an interrupted run kept.")] = True
    accuracy_check: Annotated[
        bool,
        Flag(
            _RUN,
            "Stop when accuracy is near chance or no class is found: probably preprocessing.",
        ),
    ] = True

    gate: Annotated[
        tuple[str, ...],
        BeforeValidator(lines),
        Flag(
            _JUDGE, "Such as 'circular.consistency>=0.95'; may be repeated.", "EXPR", repeats=True
        ),
    ] = ()
    baseline: Annotated[
        Path | None, Flag(_JUDGE, "An earlier result.json, for gates with 'drop'.", "FILE")
    ] = None
    require_baseline: Annotated[
        bool, Flag(_JUDGE, "A missing baseline is an error (exit 2), not a warning.")
    ] = False
    update_baseline: Annotated[
        bool, Flag(_JUDGE, "Keep this run as the --baseline, unless a gate fails.")
    ] = False
    early_stop: Annotated[bool, Flag(_JUDGE, "End when every gate is settled.")] = False
    precision: Annotated[
        float | None, Flag(_JUDGE, "End at intervals of +-P, such as 0.01 for a point.", "P")
    ] = None
    strict: Annotated[
        bool,
        Flag(_JUDGE, "An inconclusive gate is exit 4, and an unreadable image is exit 2."),
    ] = False

    output: Annotated[
        Path | None,
        Flag(_OUTPUT, "Folder for the reports. A scan's default is reports/<model>.", "DIR", "-o"),
    ] = None
    format: Annotated[
        tuple[str, ...],
        one_of(tuple(FORMATS)),
        Flag(
            _OUTPUT,
            f"Comma list of {', '.join(FORMATS)}. The first goes to stdout; "
            "where several are named, each is also a file in the folder.",
            "FORMATS",
        ),
    ] = ("text",)
    images: Annotated[
        bool, Flag(_OUTPUT, "Thumbnails of the worst images in the result and the html.")
    ] = True


DEFAULTS = Settings()
"""What holds where nothing is said; dataclasses of options take their defaults from here."""
