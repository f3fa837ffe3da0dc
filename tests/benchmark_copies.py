"""Small copies of named data sets, as people have them on disk, for tests of the benchmark."""

import io
import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from backmix.benchmark.named_data import DATA, Split

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def shrink(monkeypatch, name, **per_class):
    """Let a data set have fewer images: split -> images of each class, a number, one for each, or a range."""
    data = DATA[name]
    total = {s: n * len(data.classes) if isinstance(n, int) else sum(n) for s, n in per_class.items()}
    splits = {s: replace(data.splits[s], images=total[s], per_class=n) for s, n in per_class.items()}
    monkeypatch.setitem(DATA, name, replace(data, splits={**data.splits, **splits}))


def only(monkeypatch, name, **splits: Split):
    """Let a data set have these splits and no others."""
    monkeypatch.setitem(DATA, name, replace(DATA[name], splits=splits))


def png(grey):
    buffer = io.BytesIO()
    Image.new("L", (4, 4), grey).save(buffer, "PNG")
    return buffer.getvalue()


def parquet(root, name, split, counts, *, names=None, numbered=False):
    """A Parquet split with counts[class] images; names is the order in which the file numbers its classes.

    The grey level of an image is the place of its class in `counts`.
    """
    names = list(names if names is not None else counts)
    labels, images = [], []
    for grey, (of_class, count) in enumerate(counts.items()):
        labels += [names.index(of_class)] * count
        images += [{"bytes": png(grey), "path": f"{of_class}.png"}] * count
    kind = {"_type": "Value", "dtype": "int64"} if numbered else {"names": names, "_type": "ClassLabel"}
    features = {"image": {"_type": "Image"}, "label": kind}
    table = pa.table({"image": pa.array(images, STRUCT), "label": pa.array(labels, pa.int64())})
    path = root / name / f"{split}-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}), path)
    return path


def folders(root, counts):
    """Class folders with counts[class] images; the grey level is the place of the class in `counts`."""
    for grey, (of_class, count) in enumerate(counts.items()):
        (root / of_class).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.new("L", (4, 4), grey).save(root / of_class / f"{number}.png")
    return root
