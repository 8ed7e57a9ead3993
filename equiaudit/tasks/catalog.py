"""Every metric a gate, a plot or a table may name, from the tasks that measure it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from equiaudit.tasks.registry import TASKS

if TYPE_CHECKING:
    from equiaudit.results import MetricInfo


class _Metrics(Mapping[str, "MetricInfo"]):
    """By name, task by task; two tasks that measure the same share its row."""

    def __getitem__(self, name: str) -> MetricInfo:
        for task in TASKS.values():
            for info in task.metrics:
                if info.name == name:
                    return info
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(info.name for t in TASKS.values() for info in t.metrics))

    def __len__(self) -> int:
        return sum(1 for _ in self)


METRICS: Mapping[str, MetricInfo] = _Metrics()


def metric_info(name: str) -> MetricInfo:
    """Look a metric up by ``metric`` or ``kind.metric``; KeyError when there is none."""
    return METRICS[name.rpartition(".")[2]]


def task_of_metric(name: str) -> str:
    """The first task that measures it; KeyError when there is none."""
    for task in TASKS.values():
        if any(info.name == name for info in task.metrics):
            return task.name
    raise KeyError(name)
