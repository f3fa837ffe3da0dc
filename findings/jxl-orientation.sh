#!/usr/bin/env bash
# pillow-jxl-plugin 1.3.8, Pillow 12.3.0, imagecodecs 2026.3.6.
#
# Behaviour: a JPEG of 72x48 with the EXIF orientation 6 (turn by 90 degrees) is upright at 48x72. Saved as JPEG XL by
# Pillow's plugin, its orientation is kept in one of two ways, and readers disagree about the first.
# - From pixels, `save(..., exif=...)`: the orientation stands in the EXIF data alone. A decoder of JPEG XL does not look
#   there, so imagecodecs shows the picture lying on its side; Pillow with `ImageOps.exif_transpose` shows it upright.
# - With `lossless_jpeg=True`: the orientation stands in the codestream too. imagecodecs shows it upright. Pillow opens
#   it lying, because the plugin unpacks the JPEG inside, and `exif_transpose` turns it.
#
# Output seen (width x height):
#   from pixels     imagecodecs 72x48, Pillow 72x48, exif_transpose 48x72
#   lossless_jpeg   imagecodecs 48x72, Pillow 72x48, exif_transpose 48x72
#
# Exits with 0 while this is so, with 1 when it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  pillow-jxl-plugin==1.3.8 pillow==12.3.0 imagecodecs==2026.3.6

cat > "$folder/finding.py" <<'PY'
import importlib.metadata
import sys
from pathlib import Path

import imagecodecs
import pillow_jxl  # noqa: F401
from PIL import Image, ImageOps

folder = Path(sys.argv[1])
names = ("pillow-jxl-plugin", "pillow", "imagecodecs")
print(f"Python {sys.version.split()[0]}, " + ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names))
turned = Image.Exif()
turned[274] = 6
Image.new("RGB", (72, 48), "orange").save(folder / "photo.jpg", exif=turned)
photo = Image.open(folder / "photo.jpg")
assert ImageOps.exif_transpose(photo).size == (48, 72)
photo.save(folder / "pixels.jxl", exif=turned.tobytes(), lossless_jpeg=False)
Image.open(folder / "photo.jpg").save(folder / "inside.jxl", lossless_jpeg=True)

seen = []
for name, file in (("from pixels", "pixels.jxl"), ("lossless_jpeg", "inside.jxl")):
    height, width = imagecodecs.jpegxl_decode((folder / file).read_bytes()).shape[:2]
    image = Image.open(folder / file)
    sizes = ["x".join(map(str, size)) for size in ((width, height), image.size, ImageOps.exif_transpose(image).size)]
    seen.append(f"{name:15} imagecodecs {sizes[0]}, Pillow {sizes[1]}, exif_transpose {sizes[2]}")
print("\n".join(seen))
same = seen == [
    "from pixels     imagecodecs 72x48, Pillow 72x48, exif_transpose 48x72",
    "lossless_jpeg   imagecodecs 48x72, Pillow 72x48, exif_transpose 48x72",
]
print("as described" if same else "NOT as described: something has changed")
sys.exit(0 if same else 1)
PY
"$folder/venv/bin/python" "$folder/finding.py" "$folder"
