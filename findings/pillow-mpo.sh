#!/usr/bin/env bash
# Pillow 12.3.0.
#
# Behaviour: many phones write a photo as a JPEG file with further pictures in it (Multi-Picture Format: a gain map, a
# view for depth). Opened with `formats=["JPEG"]`, which forbids all other formats, its format is "MPO" all the same. Code
# that treats JPEG specially, for instance to decode it at a smaller scale by `draft`, and asks for `format == "JPEG"`,
# passes such photos over, though `draft` works on them. The format that it reports cannot be asked for.
#
# Output seen:
#   formats=["JPEG"]: format MPO, 2 frames
#   draft of 160x120 to 80x60: 80x60
#   formats=["MPO"]: KeyError
#   one picture, formats=["JPEG"]: format JPEG, 1 frame
#
# Exits with 0 while this is so, with 1 when it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pillow==12.3.0

cat > "$folder/finding.py" <<'PY'
import sys
from pathlib import Path

import PIL
from PIL import Image

folder = Path(sys.argv[1])
print(f"Python {sys.version.split()[0]}, Pillow {PIL.__version__}")
photo, map_ = Image.new("RGB", (160, 120), "orange"), Image.new("RGB", (80, 60), "grey")
photo.save(folder / "phone.jpg", "MPO", save_all=True, append_images=[map_])
photo.save(folder / "plain.jpg", "JPEG")


def seen(name, kind):
    with Image.open(folder / name, formats=[kind]) as image:
        frames = getattr(image, "n_frames", 1)
        return f'formats=["{kind}"]: format {image.format}, {frames} frame{"s" if frames > 1 else ""}'


with Image.open(folder / "phone.jpg", formats=["JPEG"]) as image:
    image.draft("RGB", (80, 60))
    drafted = f"draft of 160x120 to 80x60: {image.size[0]}x{image.size[1]}"
try:
    as_mpo = seen("phone.jpg", "MPO")
except Exception as error:
    as_mpo = f'formats=["MPO"]: {type(error).__name__}'
found = [seen("phone.jpg", "JPEG"), drafted, as_mpo, "one picture, " + seen("plain.jpg", "JPEG")]
print("\n".join(found))
same = found == [
    'formats=["JPEG"]: format MPO, 2 frames',
    "draft of 160x120 to 80x60: 80x60",
    'formats=["MPO"]: KeyError',
    'one picture, formats=["JPEG"]: format JPEG, 1 frame',
]
print("as described" if same else "NOT as described: something has changed")
sys.exit(0 if same else 1)
PY
"$folder/venv/bin/python" "$folder/finding.py" "$folder"
