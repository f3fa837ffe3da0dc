#!/usr/bin/env bash
# Pillow 12.3.0.
#
# Behaviour: a grey TIFF without compression and with the orientation tag 6 (turn by 90 degrees) has two sizes. Opened
# by its path, `size` says 72x48, which is upright; after `load` it is 48x72, the pixels are as they lie in the file,
# and the orientation is gone, so that `ImageOps.exif_transpose` returns the picture lying on its side. Opened as a file
# object, the same file is turned. So are compressed files and colours. By its path the file is mapped into memory, and
# whatever turns the picture afterwards comes to nothing.
#
# Output seen:
#   grey, by its path          size before 72x48, after load 48x72, exif_transpose 48x72  upright: no
#   grey, as a file object     size before 72x48, after load 72x48, exif_transpose 72x48  upright: yes
#   grey LZW, by its path      size before 72x48, after load 72x48, exif_transpose 72x48  upright: yes
#   colour, by its path        size before 72x48, after load 72x48, exif_transpose 72x48  upright: yes
#
# Exits with 0 while this is so, with 1 when it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pillow==12.3.0 numpy==2.4.6

cat > "$folder/finding.py" <<'PY'
import importlib.metadata
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

folder = Path(sys.argv[1])
print(f"Python {sys.version.split()[0]}, pillow {importlib.metadata.version('pillow')}")
turned = Image.Exif()
turned[274] = 6
grey = np.arange(72 * 48, dtype=np.uint16).reshape(72, 48).astype(np.uint8)
CASES = [
    ("grey, by its path", grey, None, str, False),
    ("grey, as a file object", grey, None, lambda path: open(path, "rb"), True),
    ("grey LZW, by its path", grey, "tiff_lzw", str, True),
    ("colour, by its path", np.dstack([grey] * 3), None, str, True),
]
same = True
for name, values, compression, opened, seen in CASES:
    path = folder / "turned.tif"
    Image.fromarray(values).save(path, exif=turned, compression=compression)
    expected = np.rot90(values, -1)
    image = Image.open(opened(path))
    before = image.size
    image.load()
    upright = ImageOps.exif_transpose(Image.open(opened(path)))
    found = np.array_equal(np.asarray(upright), expected)
    sizes = ["x".join(map(str, size)) for size in (before, image.size, upright.size)]
    print(f"{name:26} size before {sizes[0]}, after load {sizes[1]}, exif_transpose {sizes[2]}  upright: {'yes' if found else 'no'}")
    same = same and found == seen and before == (72, 48)
print("as described" if same else "NOT as described: something has changed")
sys.exit(0 if same else 1)
PY
"$folder/venv/bin/python" "$folder/finding.py" "$folder"
