"""Audits with their pages, for the tests of these."""

import json
from pathlib import Path

import numpy as np
from audit_pictures import Made, draw, write_set
from PIL import Image

from backmix.audit.page import FILE
from backmix.cli.audit_command import AuditArguments, audit_command

HOSTILE = [
    "<img src=x onerror=document.title=1>",
    "\u202egnp",
    "w" * 180,
    "line\nbreak",
    "a\"b'c & d",
    "{{7*7}}{% raw %}",
]


def page_of(out: Path, model: str, data: Path, fail_above: float | None = None, **options: object) -> Path:
    """Audit and return the page."""
    audit_command(AuditArguments(model, str(data), **options), out, fail_above=fail_above)
    return out / FILE


def ordinary(folder: Path, model: str = "audit_looking:rim", **options: object) -> Path:
    """A gap, scenes, masks from files."""
    images, masks = write_set(folder / "set", Made(8, rate=0.8))
    scenes, _ = write_set(folder / "scenes", Made(3, seed=4))
    given = {"masks": str(masks), "scenes": str(scenes), **options}
    return page_of(folder / "out", model, images, 0.1, **given)


def with_unknown(folder: Path) -> Path:
    """Two known classes, unknown objects, estimated masks."""
    images, _ = write_set(folder / "set", Made({"cat": 8, "dog": 8}))
    unknown, _ = write_set(folder / "unknown", Made({"owl": 6}, seed=3))
    return page_of(folder / "out", "audit_looking:rim_two", images, masks="saliency", unknown=str(unknown))


def hostile(folder: Path) -> Path:
    """Names of classes, folders and files that no one chose with a web page in mind, and faults in masks and images."""
    root = folder / '<b>da"ta\n'
    random = np.random.default_rng(0)
    for number, name in enumerate(HOSTILE):
        of = ("cat", "dog", "owl")[number % 3]
        for k in range(3):
            for kind, picture in zip(("images/test", "masks"), draw(of, of, random), strict=True):
                path = root / kind / name / f"{k}<i>'\".png"
                path.parent.mkdir(parents=True, exist_ok=True)
                picture.save(path)
        (root / "images/test" / name / "broken<script>.png").write_bytes(b"no picture")
        (root / "masks" / name / "0<i>'\".png").unlink()
    outputs = {name: [("cat", "dog", "owl")[number % 3]] for number, name in enumerate(HOSTILE[:3])}
    (folder / "map.yaml").write_text(json.dumps(outputs), encoding="utf-8")
    given = {"masks": str(root / "masks"), "class_map": folder / "map.yaml"}
    return page_of(folder / "<script>alert(4)", "audit_looking:rim", root / "images", **given)


def poor(folder: Path) -> Path:
    """No mask that means anything: accuracy alone."""
    images, masks = write_set(folder / "set", Made(3))
    for path in masks.rglob("*.png"):
        Image.new("L", (40, 40)).save(path)
    return page_of(folder / "out", "audit_looking:rim", images, 0.1, masks=str(masks))


PAGES = {"ordinary": ordinary, "unknown": with_unknown, "hostile": hostile, "poor": poor}
