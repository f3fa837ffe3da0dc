#!/usr/bin/env bash
# Pillow 12.3.0, with files that tifffile 2026.3.3 writes and reads.
#
# Behaviour: of valid TIFF of 16 bits a channel, Pillow shows
# - grey with white as zero (PhotometricInterpretation 0) as a negative, though it turns 8 bits of the same kind;
# - colours whose planes are stored apart (PlanarConfiguration 2), without compression, as another picture, without an error;
# - grey of 12 bits in 16 as numbers up to 4095 of "I;16", whatever MaxSampleValue says; `convert("RGB")` clips them at 255.
# The same planes of 8 bits, and 16 bits together, are right.
#
# Output seen, mean difference from the picture in levels of 255:
#   8 bits, white is zero          0.0
#   16 bits, white is zero       128.0  (of its negative: 0.0)
#   8 bits, planes apart           0.0
#   16 bits, planes together       0.0
#   16 bits, planes apart         62.7
#   12 bits in 16, MaxSampleValue 4095: values up to 4032; convert("RGB") leaves 94 % of all pixels white
#
# Exits with 0 while this is so, with 1 when it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pillow==12.3.0 tifffile==2026.3.3 numpy==2.4.6

cat > "$folder/finding.py" <<'PY'
import importlib.metadata
import sys
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

path = Path(sys.argv[1]) / "deep.tif"
print(f"Python {sys.version.split()[0]}")
for name in ("pillow", "tifffile"):
    print(name, importlib.metadata.version(name))
y, x = np.mgrid[0:48, 0:64]
colour = np.stack([x * 4, y * 5, 255 - x * 4], -1).astype(np.uint8)
grey = colour[..., 0]


def shown(values, **options):
    """What Pillow makes of a file, in levels of 255; tifffile reads back what it wrote."""
    tifffile.imwrite(path, values, **options)
    assert np.array_equal(tifffile.imread(path), values)
    found = np.asarray(Image.open(path)).astype(float)
    return found / 257 if found.max() > 255 else found


def difference(found, expected):
    return float(np.abs(found - expected).mean()) if found.shape == expected.shape else float("nan")


deep, planes = colour.astype(np.uint16) * 257, np.moveaxis(colour, -1, 0).copy()
negative = shown(65535 - grey.astype(np.uint16) * 257, photometric="miniswhite")
found = {
    "8 bits, white is zero": difference(shown(255 - grey, photometric="miniswhite"), grey),
    "16 bits, white is zero": difference(negative, grey),
    "16 bits, white is zero, of its negative": difference(255 - negative, grey),
    "8 bits, planes apart": difference(shown(planes, photometric="rgb", planarconfig="separate"), colour),
    "16 bits, planes together": difference(shown(deep, photometric="rgb"), colour),
    "16 bits, planes apart": difference(
        shown(np.moveaxis(deep, -1, 0).copy(), photometric="rgb", planarconfig="separate"), colour
    ),
}
for name, value in found.items():
    print(f"{name:42} {value:6.1f}")
tifffile.imwrite(path, grey.astype(np.uint16) * 16, extratags=[(281, "H", 1, 4095, True)])
twelve = Image.open(path)
white = float((np.asarray(twelve.convert("RGB")) == 255).mean())
print(f"12 bits in 16: values up to {np.asarray(twelve).max()}, convert('RGB') {white:.0%} white")
right = ("8 bits, white is zero", "8 bits, planes apart", "16 bits, planes together", "16 bits, white is zero, of its negative")
same = all(found[name] < 1 for name in right)
same = same and found["16 bits, white is zero"] > 50 and found["16 bits, planes apart"] > 20 and white > 0.5
print("as described" if same else "NOT as described: something has changed")
sys.exit(0 if same else 1)
PY
"$folder/venv/bin/python" "$folder/finding.py" "$folder"
