"""What a run is, before it starts: its plan, its batches, its order, its key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from equiaudit._version import __version__
from equiaudit.audit.options import ScanOptions
from equiaudit.audit.shards import Shard
from equiaudit.audit.task import TaskAudit
from equiaudit.data import Dataset, Item, Items, Place, is_lost
from equiaudit.errors import InputError, RunError
from equiaudit.models.types import Model
from equiaudit.shifts import PROTOCOLS, ShiftPlan, make_plan
from equiaudit.tasks import TASKS


def plan_of(model: Model, options: ScanOptions) -> ShiftPlan:
    """The offsets of every image; InputError for settings that make no plan."""
    if options.output_range is not None and TASKS.named(model.task).scores:
        raise InputError(
            f"--output-range is of images, and {model.name} returns scores.",
            tip="Leave it out, or give --task image.",
        )
    known = None if options.protocol is None else PROTOCOLS.get(options.protocol)
    if known and known.leaves_shifts and known.name not in TASKS.named(model.task).protocols:
        raise InputError(
            f"The protocol {known.name} bounds the AP of boxes, and {model.name} returns none.",
            tip="Leave --protocol out.",
        )
    return make_plan(
        options.shifts,
        window=model.preprocess.size,
        max_shift=options.max_shift,
        offsets=options.offsets,
        seed=options.seed,
        stride=model.plan_stride,
        protocol=options.protocol,
        fraction=options.fraction,
        resampler=options.resampler,
        # They tell causes, which a scan that ends early does not ask about.
        aligned=not options.early_stop and options.precision is None,
        paired=TASKS.named(model.task).paired,
    )


def images_per_call(model: Model, options: ScanOptions) -> int:
    """Images per call of the model, unless a faster number was found for its backend.

    On the CPU a fixed function of the window: small batches stay in the cache and are the
    fastest there, and with one size the last bits of the outputs cannot depend on settings.
    """
    if model.device.type != "cpu":
        return 128 if options.batch_size == "auto" else options.batch_size
    area = model.preprocess.size[0] * model.preprocess.size[1]
    return 32 if area <= 96**2 else 8 if area <= 512**2 else 2


def in_random_order(dataset: Dataset, seed: int) -> Items:
    """All images, in an order that depends on the seed and on how many there are."""
    order = np.random.default_rng([seed, len(dataset.items)]).permutation(len(dataset.items))
    return dataset.items.taken(order)


def refuse_lost_folders(root: Place, items: Iterable[Item]) -> None:
    """RunError where the data's folder is gone, or empty as a mount point is.

    A disk or a network path that went away says nothing about the images that were there.
    The folders with the masks or targets of `items` are looked at too.
    """
    beside = {item.truth.parent for item in items if item.truth is not None}
    for folder in (root, *sorted(beside, key=str)):
        if is_lost(folder):
            raise RunError(
                f"The folder {folder} has gone while its images were read.",
                tip="What was done before is kept; run again when it is back to continue.",
            )


def run_key(
    task: TaskAudit[Any], model: Model, dataset: Dataset, plan: ShiftPlan, batch: int
) -> str:
    """What an unfinished run must share with this one to be continued."""
    how = {k: v for k, v in vars(model.preprocess).items() if k != "source"}
    parts = [__version__, model.sha256, model.backend, str(model.device), dataset.listing_sha256]
    parts += [plan.hash, json.dumps(how, sort_keys=True), str(batch), task.key, *model.notes]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def shard_key(key: str, shard: Shard) -> str:
    """What an unfinished shard of the run `key` must share with this one to be continued."""
    return hashlib.sha256(f"{key}:{shard}".encode()).hexdigest()
