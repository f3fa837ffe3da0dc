"""Whether a file that a command leaves is whole, by what it is."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import torch
import yaml
from PIL import Image

from backmix.onnx_model.check import check_onnx


def read_whole(path: Path) -> None:
    """Raise an error unless a file is whole."""
    content = path.read_bytes()
    match path.suffix:
        case ".json":
            json.loads(content)
        case ".jsonl":
            assert content.endswith(b"\n") or not content, "half a line"
            list(map(json.loads, content.splitlines()))
        case ".csv":
            assert content.endswith(b"\n") or not content, "half a line"
            assert len({len(row) for row in csv.reader(io.StringIO(content.decode()))}) <= 1, "half a row"
        case ".yaml":
            assert isinstance(yaml.safe_load(content), dict), "no settings"
        case ".png" | ".jpg":
            with Image.open(io.BytesIO(content)) as image:
                image.load()
        case ".html" | ".svg":
            assert content.rstrip().endswith((b"</html>", b"</svg>")), "no end"
        case ".safetensors":
            from safetensors.torch import load

            load(content)
        case ".parquet":
            import pyarrow.parquet

            pyarrow.parquet.read_table(io.BytesIO(content))
        case ".onnx":
            check_onnx(content)
        case ".pt" if path.name == "checkpoint.pt":
            torch.load(io.BytesIO(content), weights_only=True)
        case ".pt":
            torch.jit.load(io.BytesIO(content))
        case ".txt" | ".md":
            content.decode()
        case ".journal" | ".bin":
            pass  # Their readers find out how much of them is whole.
        case _:
            raise AssertionError("nobody knows this kind of file")
