"""How often the intervals of causes hold the truth, over simulated audits.

    python benchmarks/causes.py [--audits 1000] [--images 50]

Worlds are labels as functions of where a view lies: by phase (all sampling), by a line that the
image moves over or a distance from the middle (all border), both, or none. Printed are the shares
of border and sampling, how many audits of 100 hold each in its 95% interval, and how many find
sampling significantly negative. Exits with 1 where an interval holds its truth in less than 93.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "audit"))

from cause_worlds import WORLDS, coverage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audits", type=int, default=1000)
    parser.add_argument("--images", type=int, default=50)
    arguments = parser.parse_args()
    low = False
    for name in WORLDS:
        found = coverage(name, arguments.audits, arguments.images)
        cells = (
            f"{cause} {100 * found.measured[cause]:5.1f}%, held {100 * held:5.1f}"
            for cause, held in found.held.items()
        )
        print(f"{name:18} {'; '.join(cells)}; negative {100 * found.negative:.1f}")
        low |= min(found.held.values()) < 0.93
    sys.exit(int(low))


if __name__ == "__main__":
    main()
