#!/usr/bin/env bash
# Pillow 13.0.0 opens a TIFF of 16 bits with a plane per colour (PlanarConfiguration 2) as RGB and,
# where it is not compressed, takes single bytes for samples: each row of the result holds the low and
# high bytes of the first half of a row in turns, and no error or warning is given.
#
# The file is valid TIFF 6.0 and as tifffile 2026.3.3 writes it; the same pixels compressed by zlib
# are read rightly (as their high bytes), since then libtiff decodes them.
#
# Seen: of the uncompressed file, hardly a pixel is the high byte of its sample; of the compressed one
# all are; tifffile gives what was written for both.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet pillow==13.0.0 tifffile==2026.3.3 numpy
"$work/venv/bin/python" - "$work" <<'PY'
import sys
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

samples = np.random.default_rng(0).integers(0, 65536, (3, 16, 24)).astype(np.uint16)
high = np.moveaxis(samples >> 8, 0, -1).astype(np.uint8)
right = {}
for compression in (None, "zlib"):
    path = Path(sys.argv[1]) / "a.tif"
    tifffile.imwrite(
        path, samples, photometric="rgb", planarconfig="separate", compression=compression
    )
    if not np.array_equal(tifffile.imread(path), samples):
        sys.exit("tifffile does not give what was written")
    pixels = np.asarray(Image.open(path))
    right[compression] = float((pixels == high).mean())
    print(f"compression {compression}: {right[compression]:.1%} of Pillow's samples are right")
    if compression is None:
        row = samples[0].view(np.uint8).reshape(16, 48)
        print("its rows are half rows of bytes:", bool((pixels[0, :, 0] == row[0, :24]).all()))
if right[None] > 0.1 or right["zlib"] != 1:
    sys.exit("Pillow reads such files otherwise now")
PY
