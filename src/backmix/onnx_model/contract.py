"""The inputs, the outputs and the description of an exported file. This module does not need torch."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from msgspec import Meta, ValidationError, convert

from backmix.data.photo import FULL, SCALED
from backmix.data.value_range import Range, read_ranges
from backmix.prediction.answer import UNKNOWN

FORMAT = 1
KEY = "backmix"
"""The name of the metadata entry of an ONNX file that holds `Description.to_json`."""
FILE = "backmix.json"
"""The name of the extra file in a TorchScript file that holds `Description.to_json`."""
INPUT = "images"
OUTPUTS = ("logits", "unknown_score", "p_value", "decision")
RESIZE = (
    "8-bit RGB, upright by its EXIF orientation, transparent parts over white. The central square of side "
    "min(width, height), resized to image_size x image_size by a bilinear filter whose support grows with the factor "
    "of reduction (Pillow's BILINEAR). Channels first, 0 to 255; the file normalises. "
    "Where decoding is 2, a JPEG is first decoded at the smallest of 1, 1/2, 1/4 and 1/8 of its size that leaves each "
    "side 2 image_size pixels."
)
LARGEST_SIDE = 4096
"""The largest side of images in pixels. A file that asks for larger images is refused before an image is made."""


@dataclass(frozen=True)
class Answers:
    """The outputs of an exported file for N images and K known classes.

    Attributes:
        logits: (N, K) float32, the logits.
        unknown_score: (N,) float64, the unknown scores, higher = more unknown. They are float64 like the thresholds, so
            that p-value and decision follow from them to the last bit.
        p_value: (N,) float64, the conformal p-values, above 0 and at most 1; small = unknown.
        decision: (N,) int64, the number of the class, -1 for unknown.
    """

    logits: npt.NDArray[np.float32]
    unknown_score: npt.NDArray[np.float64]
    p_value: npt.NDArray[np.float64]
    decision: npt.NDArray[np.int64]

    def check(self, images: int, classes: int) -> None:
        """Raise ValueError unless shapes, dtypes and decisions fit the numbers of images and classes."""
        wanted = {
            "logits": ((images, classes), np.float32),
            "unknown_score": ((images,), np.float64),
            "p_value": ((images,), np.float64),
            "decision": ((images,), np.int64),
        }
        for name, (shape, dtype) in wanted.items():
            found = getattr(self, name)
            if not isinstance(found, np.ndarray) or found.shape != shape or found.dtype != dtype:
                what = f"{found.shape} {found.dtype}" if isinstance(found, np.ndarray) else type(found).__name__
                raise ValueError(f"output {name} is {what}; expected {shape} {np.dtype(dtype)}")
        if images and not -1 <= int(self.decision.min()) <= int(self.decision.max()) < classes:
            raise ValueError(
                f"decisions go from {self.decision.min()} to {self.decision.max()}; there are {classes} classes, "
                "numbered from 0, and -1 for unknown"
            )


@dataclass(frozen=True)
class Description:
    """The description in an exported file.

    Attributes:
        classes: The names of the known classes, in the order of the logits.
        image_size: The side S of the images in pixels.
        detector: The name of the detector that gives the unknown score, see `backmix.detectors.DETECTORS`.
        accept: The share of known images that the threshold is to accept, 0..1.
        threshold: The largest unknown score at which an image is accepted, without the tolerance of
            `ConformalThreshold`, which the file applies too; +inf if there were too few held-out images to reject any.
        held_out: The number of known images that the threshold was fitted on.
        class_thresholds: The thresholds of the classes, if they decide; None for a class for which `threshold` is used.
            None if one threshold decides for all classes.
        model: The name of the backbone.
        method: The name of the training objective.
        backmix: The version of backmix that wrote the file.
        value_ranges: The ranges with which deep pixels are read whose file declares none, see
            `backmix.data.value_range`. Files of earlier versions have none.
        decoding: The version of decoding, see `backmix.data.photo`: 1 for every pixel of a file, 2 for no more than are
            wanted. Files of earlier versions have none, and mean 1.
    """

    classes: list[str]
    image_size: int
    detector: str
    accept: float
    threshold: float
    held_out: int
    class_thresholds: list[float | None] | None
    model: str
    method: str
    backmix: str
    value_ranges: dict[str, Range] = field(default_factory=dict)
    decoding: int = FULL

    def to_json(self) -> str:
        """Return the text that is written into a file. Infinite thresholds become the string "inf"."""
        content: dict[str, Any] = {"format": FORMAT, "resize": RESIZE, **asdict(self)}
        content["threshold"] = _finite(self.threshold)
        if self.class_thresholds is not None:
            content["class_thresholds"] = [None if one is None else _finite(one) for one in self.class_thresholds]
        return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=2)

    @classmethod
    def from_json(cls, text: str) -> Description:
        """Read a description that `to_json` wrote.

        Raises:
            ValueError: If the text is not a description, has another format, or an entry is missing or invalid.
        """
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"its description is not JSON ({error})") from None
        if not isinstance(content, dict) or "format" not in content:
            raise ValueError("its description has no `format`")
        if content["format"] != FORMAT:
            raise ValueError(
                f"it has export format {content['format']!r}, and this version reads {FORMAT}. Export the run again"
            )
        content.setdefault("value_ranges", {})
        content.setdefault("decoding", FULL)
        names = [entry.name for entry in fields(cls)]
        missing = [name for name in names if name not in content]
        if missing:
            raise ValueError(f"its description lacks {', '.join(missing)}")
        found = cls(**{name: _checked(name, content[name]) for name in names})
        rows = found.class_thresholds
        if rows is not None and len(rows) != len(found.classes):
            raise ValueError(f"it describes {len(found.classes)} classes and {len(rows)} thresholds for them")
        own = None if rows is None else [None if one is None else float(one) for one in rows]
        ranges = read_ranges(found.value_ranges)
        return replace(found, threshold=float(found.threshold), class_thresholds=own, value_ranges=ranges)


_TEXT = ("text", str)
_Threshold = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)] | Literal["inf", "-inf"]
_ENTRIES: dict[str, tuple[str, Any]] = {
    "classes": (f'two or more different names, none of them "{UNKNOWN}"', Annotated[list[str], Meta(min_length=2)]),
    "image_size": (f"a side in pixels, 8 to {LARGEST_SIDE}", Annotated[int, Meta(ge=8, le=LARGEST_SIDE)]),
    "detector": _TEXT,
    "accept": ("a share between 0 and 1", Annotated[float, Meta(gt=0, lt=1)]),
    "threshold": ('a number or "inf"', _Threshold),
    "held_out": ("a number of images", Annotated[int, Meta(ge=1)]),
    "class_thresholds": ('null, or a number, null or "inf" for each class', list[_Threshold | None] | None),
    "model": _TEXT,
    "method": _TEXT,
    "backmix": _TEXT,
    "value_ranges": ("two numbers for each kind of values", dict[str, Annotated[list[float], Meta(max_length=2)]]),
    "decoding": (f"{FULL} (in full) or {SCALED} (no more pixels than are wanted)", Literal[1, 2]),
}


def _checked(name: str, value: object) -> Any:
    what, kind = _ENTRIES[name]
    try:
        found = convert(value, kind)
        if name == "classes" and len({*found, UNKNOWN}) <= len(found):
            raise ValidationError
    except ValidationError:
        raise ValueError(f"{name} in its description must be {what}; found {_short(value)}") from None
    return found


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
