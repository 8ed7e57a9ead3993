"""What models do: a folder per task holds all that is known about it, and a row here names it.

    classification   one label per image
    binary           yes or no per image
    multilabel       a set of labels per image
    segmentation     a class per pixel
    image            an image per image
    regression       numbers per image
    embedding        a vector per image
    heatmap          maps whose highest places count

A folder has a light half, which needs no torch (words, metrics, report, samples), and a heavy
half, loaded when a model is run (blocks, records, figures). The rest of the package asks
`TASKS[name]`; what it may ask is written in `equiaudit.tasks.base`.
"""

from equiaudit.tasks.base import Task, TruthWords
from equiaudit.tasks.catalog import METRICS, metric_info, task_of_metric
from equiaudit.tasks.registry import TASKS, of_result, register

__all__ = [
    "METRICS",
    "TASKS",
    "Task",
    "TruthWords",
    "metric_info",
    "of_result",
    "register",
    "task_of_metric",
]
