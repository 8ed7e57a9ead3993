"""Decode in threads, hand out in order, hold only so much."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from equiaudit.data.decoding import Decoded, check_size, decode
from equiaudit.data.geometry import Geometry
from equiaudit.data.items import Item
from equiaudit.data.truth import TruthReader
from equiaudit.results import Skipped

_HEADERS = 1024
"""Headers that are waited for at a time."""


def decode_ahead(
    items: Iterable[Item],
    geometry: Geometry,
    truth: TruthReader | None = None,
    *,
    workers: int,
    ahead: int,
) -> Iterator[Decoded | Skipped]:
    """`decode` of each item, in the order of `items`, by `workers` threads.

    At most `ahead` images are decoded or being decoded beyond the one handed out last.
    Pillow lets go of the interpreter lock while it decodes, so threads do run side by side.
    TooSmall is raised in its image's turn. Closing the iterator, or an exception, drops what
    has not been started and waits for what has.
    """
    if workers < 1 or ahead < 1:
        raise ValueError(f"workers and ahead must be at least 1, got {workers} and {ahead}")
    return _decode_ahead(iter(items), geometry, truth, workers, ahead)


def _decode_ahead(
    items: Iterator[Item],
    geometry: Geometry,
    truth: TruthReader | None,
    workers: int,
    ahead: int,
) -> Iterator[Decoded | Skipped]:
    pool = ThreadPoolExecutor(workers, thread_name_prefix="equiaudit-decode")
    try:
        pending: deque[Future[Decoded | Skipped]] = deque(
            pool.submit(decode, item, geometry, truth) for item in islice(items, ahead)
        )
        while pending:
            ready = pending.popleft().result()
            pending.extend(pool.submit(decode, item, geometry, truth) for item in islice(items, 1))
            yield ready
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def check_sizes(
    items: Iterable[Item],
    geometry: Geometry,
    truth: TruthReader | None = None,
    *,
    workers: int,
) -> None:
    """Raise InputError for the first item, in their order, that does not hold the window.

    Or whose mask or target, as `truth` reads it, does not fit the image.

    Reads headers only, so that hours of work do not end at the last image.
    """
    waiting = iter(items)
    with ThreadPoolExecutor(workers, thread_name_prefix="equiaudit-header") as pool:
        while some := list(islice(waiting, _HEADERS)):  # a future weighs more than a header
            for _ in pool.map(lambda item: check_size(item, geometry, truth), some):
                pass
