"""Two results on the same images and the same shifts, paired image by image.

    load_result x 2 -> comparable -> read_samples x 2 -> compare -> render_comparison

Images that only one of the two could score are left out of both. Metrics that are one figure
per image are paired; the others (conditional means, extremes) are compared through their
intervals, and each row says which.
"""

from equiaudit.comparison.fingerprints import comparable
from equiaudit.comparison.pairing import (
    compare,
    compare_files,
    difference_of,
    paired_differences,
    paired_law,
)
from equiaudit.comparison.rendering import render_comparison
from equiaudit.comparison.samples import (
    Samples,
    parse_samples,
    read_samples,
    samples_beside,
)

__all__ = [
    "Samples",
    "comparable",
    "compare",
    "compare_files",
    "difference_of",
    "paired_differences",
    "paired_law",
    "parse_samples",
    "read_samples",
    "render_comparison",
    "samples_beside",
]
