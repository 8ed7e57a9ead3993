"""What it costs to open many files in class folders, over os.walk with one stat each.

python benchmarks/listing.py [--files 50000] [--classes 100]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from equiaudit.data import open_dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for i in range(chosen.files):
            home = root / f"class_{i % chosen.classes:03}"
            home.mkdir(exist_ok=True)
            (home / f"{i:06}.jpg").write_bytes(b"x")
        ratios = []
        for _ in range(chosen.rounds):  # in turn, so that both meet the same noise
            walked = timed(lambda: walk(root))
            opened = timed(lambda: open_dataset(root, num_classes=chosen.classes))
            ratios.append(opened / walked)
            print(f"os.walk and stat {walked:.3f} s, open_dataset {opened:.3f} s")
    print(f"{statistics.median(ratios):.2f} times, median of {chosen.rounds} rounds")


def timed(work: object) -> float:
    """Seconds of this process's own CPU time."""
    start = time.process_time()
    work()  # type: ignore[operator]
    return time.process_time() - start


def walk(root: Path) -> int:
    return sum(
        os.stat(os.path.join(folder, name)).st_size
        for folder, _, names in os.walk(root)
        for name in names
    )


if __name__ == "__main__":
    main()
