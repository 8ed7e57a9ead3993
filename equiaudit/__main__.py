"""`python -m equiaudit`."""

from __future__ import annotations

import sys

from equiaudit.cli import main

if __name__ == "__main__":
    sys.exit(main())
