#!/usr/bin/env bash
# datafusion 55.0.0, datasets 5.2.0, pyarrow 26.0.1.
#
# Behaviour: a Parquet file with encoded images in a column of the type binary is read by `datasets`, and
# `cast_column("image", Image())` makes pictures of it. DataFusion reads the file, leaves rows out, and writes Parquet
# again: the column has become `binary_view`, a text `string_view`, although nothing was asked for that; binary inside a
# struct stays as it was. `datasets` loads the new file without a word and hands out the same bytes, but the same
# `cast_column` raises ArrowNotImplementedError. A struct of bytes and path still becomes pictures.
#
# Output seen:
#   before: image binary, name string; cast_column gives a picture
#   after:  image binary_view, name string_view; cast_column raises ArrowNotImplementedError
#   struct of bytes and path, after: cast_column gives a picture
#
# Exits with 0 while this is so, with 1 when it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  datafusion==55.0.0 datasets==5.2.0 pyarrow==26.0.1 pillow==12.3.0

cat > "$folder/finding.py" <<'PY'
import importlib.metadata
import io
import sys
from pathlib import Path

import datafusion
import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

folder = Path(sys.argv[1])
versions = [f"{name} {importlib.metadata.version(name)}" for name in ("datafusion", "datasets", "pyarrow", "pillow")]
print(f"Python {sys.version.split()[0]}, {', '.join(versions)}")
datasets.disable_progress_bars()

encoded = io.BytesIO()
Image.new("RGB", (8, 8), "red").save(encoded, "PNG")
images = [encoded.getvalue()] * 3
rows = {"image": images, "name": ["a", "b", "a"], "both": [{"bytes": image, "path": "x.png"} for image in images]}
pq.write_table(pa.table(rows), folder / "before.parquet")

context = datafusion.SessionContext()
context.register_parquet("photos", str(folder / "before.parquet"))
context.sql("SELECT * FROM photos WHERE name = 'a'").write_parquet(str(folder / "after"))
(after,) = (folder / "after").glob("*.parquet")


def types(path):
    schema = pq.read_schema(path)
    return f"image {schema.field('image').type}, name {schema.field('name').type}"


def cast(path, column):
    data = datasets.load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(folder / "cache"))
    assert data[0]["image"] == images[0]
    try:
        picture = data.cast_column(column, datasets.Image())[0][column]
    except Exception as error:
        return f"raises {type(error).__name__}"
    return "gives a picture" if picture.size == (8, 8) else "gives something else"


seen = [
    f"before: {types(folder / 'before.parquet')}; cast_column {cast(folder / 'before.parquet', 'image')}",
    f"after:  {types(after)}; cast_column {cast(after, 'image')}",
    f"struct of bytes and path, after: cast_column {cast(after, 'both')}",
]
print("\n".join(seen))
same = seen == [
    "before: image binary, name string; cast_column gives a picture",
    "after:  image binary_view, name string_view; cast_column raises ArrowNotImplementedError",
    "struct of bytes and path, after: cast_column gives a picture",
]
print("as described" if same else "NOT as described: something has changed")
sys.exit(0 if same else 1)
PY
HF_DATASETS_OFFLINE=1 HF_HOME="$folder/hub" "$folder/venv/bin/python" "$folder/finding.py" "$folder"
