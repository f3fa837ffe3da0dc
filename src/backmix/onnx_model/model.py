"""Answer images with an exported ONNX file, without torch."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from backmix.data.photo import Photo, side_to_read
from backmix.data.square import central_square
from backmix.errors import DataError, RunError, in_one_line
from backmix.onnx_model.check import MAX_BYTES, check_onnx
from backmix.onnx_model.contract import INPUT, KEY, OUTPUTS, Answers, Description
from backmix.prediction.answer import UNKNOWN, Prediction

BATCH = 64
"""The largest number of images in one call of the file."""
MEMORY = 8 * 2**30
"""The largest number of bytes that all loaded files together may take for weights and computation. The limit is half of
the machine's memory if that is less."""


class OnnxModel:
    """A file of `backmix export RUN --format onnx`, which onnxruntime runs on the CPU. `load` makes the object.

    Attributes:
        classes: The names of the known classes.
        image_size: The side S of the images in pixels.
        accept: The share of known images that the threshold is to accept.
        detector: The name of the detector whose unknown score decides.
        description: The whole description in the file.
        value_ranges: The ranges with which deep pixels are read, see `backmix.data.value_range`.
        at_least: The side in pixels to which files are decoded at least, see `backmix.data.images.open_photo`.
    """

    def __init__(self, session: Any, description: Description) -> None:
        self._session = session
        self.description = description
        self.classes = description.classes
        self.image_size = description.image_size
        self.accept = description.accept
        self.detector = description.detector
        self.value_ranges = description.value_ranges
        self.at_least = side_to_read(description.image_size, description.decoding)

    @classmethod
    def load(cls, path: str | Path, *, threads: int | None = None) -> OnnxModel:
        """Load a file. Nothing in it is executed, and it cannot make other files be opened.

        Args:
            path: The path of the file.
            threads: The number of threads that compute; None: one for each processor core.

        Raises:
            RunError: If the file is missing, is not an ONNX model of `backmix export`, or holds more than arithmetic
                and weights, see `backmix.onnx_model.check.check_onnx`; also if onnxruntime is not installed.
        """
        runtime = _runtime()
        content = _read(Path(path))
        try:
            metadata = check_onnx(content)
            if KEY not in metadata:
                raise ValueError("it has no description of a classifier, which `backmix export` writes into its files")
            description = Description.from_json(metadata[KEY])
            session = _session(runtime, content, threads)
            _check_ends(session, description)
        except ValueError as error:
            raise RunError(f"{path} is not used: {error}.") from error
        return cls(session, description)

    def run(self, images: npt.NDArray[np.uint8]) -> Answers:
        """Return all outputs of the file for images (N, 3, S, S) uint8, in one batch.

        Raises:
            ValueError: If the images have another shape or dtype.
            RunError: If the file cannot compute the outputs, or gives invalid ones.
        """
        size = self.image_size
        if images.ndim != 4 or images.shape[1:] != (3, size, size) or images.dtype != np.uint8:
            raise ValueError(f"images must be (N, 3, {size}, {size}) uint8; got {images.shape} {images.dtype}")
        try:
            outputs = self._session.run(list(OUTPUTS), {INPUT: images})
            answers = Answers(**dict(zip(OUTPUTS, outputs, strict=True)))
            answers.check(len(images), len(self.classes))
        except Exception as error:  # The errors of onnxruntime have no common base class.
            raise RunError(f"the ONNX file cannot answer {len(images)} images: {in_one_line(error)}") from error
        return answers

    def answer(self, images: npt.NDArray[np.uint8], names: Sequence[str], *, top: int = 3) -> list[Prediction]:
        """Answer each image with a class name or "unknown".

        Args:
            images: (N, 3, S, S) uint8, images as `decode` makes them.
            names: The N names for `Prediction.path`.
            top: The number of likeliest classes to give.

        Raises:
            DataError: If the unknown score of an image is not a number.
            ValueError: If the images have another shape or dtype, or there is not one name per image.
            RunError: As in `run`.
        """
        if len(names) != len(images):
            raise ValueError(f"there is one name an image; got {len(names)} for {len(images)} images")
        found: list[Prediction] = []
        for start in range(0, len(images), BATCH):
            answers = self.run(images[start : start + BATCH])
            found += self._predictions(answers, names[start : start + BATCH], top)
        return found

    def decode(self, picture: Image.Image | Photo) -> npt.NDArray[np.uint8]:
        """Return a photograph that was read with `at_least`, or an RGB picture of any size, as (3, S, S) uint8."""
        pixels: npt.NDArray[np.uint8] = np.array(central_square(picture, self.image_size))
        return pixels.transpose(2, 0, 1)

    def _predictions(self, answers: Answers, names: Sequence[str], top: int) -> list[Prediction]:
        missing = np.isnan(answers.unknown_score)
        if missing.any():
            raise DataError(f"the unknown score of {names[int(missing.argmax())]} is not a number")
        wide = answers.logits.astype(np.float64)
        shares = np.exp(wide - wide.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        best = np.argsort(-wide, axis=1, kind="stable")[:, : max(0, top)]
        return [
            Prediction(
                name,
                UNKNOWN if decision < 0 else self.classes[decision],
                score,
                p_value,
                [(self.classes[k], float(share[k])) for k in order],
            )
            for name, decision, score, p_value, order, share in zip(
                names,
                answers.decision.tolist(),
                answers.unknown_score.tolist(),
                answers.p_value.tolist(),
                best.tolist(),
                shares,
                strict=True,
            )
        ]


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise RunError("an ONNX file is run by onnxruntime, which is not installed: pip install onnxruntime") from error
    return onnxruntime


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb", opener=_open_now) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise RunError(f"{path} is not a file")
            if found.st_size > MAX_BYTES:
                raise RunError(f"{path} has {found.st_size} bytes; an ONNX file has at most {MAX_BYTES}")
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_BYTES:
        raise RunError(f"{path} is still growing; an ONNX file has at most {MAX_BYTES} bytes")
    return content


def _open_now(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # Without this flag, opening a pipe may block.


def _session(runtime: Any, content: bytes, threads: int | None) -> Any:
    """Return a session that computes within `MEMORY`. Raise ValueError if onnxruntime refuses the file."""
    _limit_memory(runtime)
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # The log is off, because errors are raised.
    options.intra_op_num_threads = threads or 0
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        return runtime.InferenceSession(
            content,
            options,
            providers=["CPUExecutionProvider"],
            # An exported file has nothing to fold. In another file, folding could take terabytes before any limit.
            disabled_optimizers=["ConstantFolding"],
            enable_fallback=0,  # A fallback would print, and try the same again.
        )
    except Exception as error:  # The errors of onnxruntime have no common base class.
        raise ValueError(f"onnxruntime {runtime.__version__} does not take it ({in_one_line(error)})") from error


@cache
def _limit_memory(runtime: Any) -> None:
    """Register, once per process, a memory arena with an upper limit, which the sessions of this module share."""
    limit = MEMORY
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limit = min(limit, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    place = runtime.OrtMemoryInfo("Cpu", runtime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, runtime.OrtMemType.DEFAULT)
    # If other code of this process has already registered an arena, the limit of that arena applies.
    with suppress(Exception):
        runtime.create_and_register_allocator(place, runtime.OrtArenaCfg(limit, -1, -1, -1))


def _check_ends(session: Any, description: Description) -> None:
    """Raise ValueError unless the inputs and outputs match the description."""
    side, classes = description.image_size, len(description.classes)
    wanted = {
        INPUT: ("tensor(uint8)", (3, side, side)),
        "logits": ("tensor(float)", (classes,)),
        "unknown_score": ("tensor(double)", ()),
        "p_value": ("tensor(double)", ()),
        "decision": ("tensor(int64)", ()),
    }
    ends = [*session.get_inputs(), *session.get_outputs()]
    found = [end.name for end in ends]
    if found != list(wanted):
        raise ValueError(f"its inputs and outputs are {', '.join(found)[:200]}; expected {', '.join(wanted)}")
    for end in ends:
        kind, shape = wanted[end.name]
        if end.type != kind or tuple(end.shape[1:]) != shape or len(end.shape) != 1 + len(shape):
            raise ValueError(
                f"{end.name} is {end.type} of shape {end.shape}; by its description ({classes} classes, {side} px) it "
                f"must be {kind} of shape {['batch', *shape]}"
            )
        if isinstance(end.shape[0], int):
            raise ValueError(f"{end.name} takes {end.shape[0]} images at a time; expected any number")
