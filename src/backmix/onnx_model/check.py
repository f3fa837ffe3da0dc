"""Check the bytes of an ONNX file before other code reads them. This module needs no other package.

onnxruntime builds everything that a file asks for: tensors that are read from any path on the disk, endless loops,
operators of other libraries. A file of `backmix export` has none of these, so a file that has them is refused. The
bytes are Protocol Buffers. The numbers of fields below are those of onnx.proto
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

from collections.abc import Iterator

MAX_BYTES = 2**31 - 1
"""The largest size of a Protocol Buffers message in bytes, and so of an ONNX file."""
MAX_FIELDS = 3_000_000
"""The largest number of parts of a message that are read. A network of a thousand layers has on the order of a hundred
thousand parts."""
_MAX_DIMENSIONS = 16

# The allowed operators are arithmetic on tensors, without control flow, randomness, text or state.
_ARITHMETIC = """
    Abs Add And ArgMax ArgMin Attention AveragePool BatchNormalization Cast CastLike Ceil Celu Clip Concat Constant
    ConstantOfShape Conv ConvTranspose Cos CumSum DepthToSpace Div Dropout Einsum Elu Equal Erf Exp Expand Flatten Floor
    Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GroupNormalization
    HardSigmoid HardSwish Identity InstanceNormalization IsInf IsNaN LayerNormalization LeakyRelu Less LessOrEqual Log
    LogSoftmax LpNormalization MatMul Max MaxPool Mean Min Mish Mod Mul Neg Not OneHot Or PRelu Pad Pow RMSNormalization
    Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
    ReduceSumSquare Relu Reshape Resize Round ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Size Slice Softmax
    Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tanh ThresholdedRelu Tile TopK Transpose Trilu
    Unsqueeze Where Xor
"""
OPERATORS = frozenset(_ARITHMETIC.split())

_Field = tuple[int, int, int, memoryview]
"""A field: its number, its wire type, the value of a varint, and the bytes of any other type."""


def check_onnx(content: bytes) -> dict[str, str]:
    """Check that an ONNX model consists only of arithmetic and weights, and return its metadata.

    The check refuses tensors in other files, operators outside `OPERATORS`, graphs within graphs, functions, training
    graphs, and tensors whose declared shape is larger than their data in the file.

    Args:
        content: The bytes of the whole file.

    Raises:
        ValueError: If it holds anything else, or is not an ONNX model. The error says what was found.
    """
    return _Check(content).model()


def is_exported(content: bytes, key: str) -> bool:
    """Return whether an ONNX model has a metadata entry, as files of `backmix export` do. Nothing else is looked at.

    Args:
        content: The bytes of the whole file.
        key: The name of the entry.
    """
    try:
        return key in _Check(content).names()
    except ValueError:
        return False


class _Check:
    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)
        self._left = MAX_FIELDS

    def model(self) -> dict[str, str]:
        metadata: dict[str, str] = {}
        graphs = 0
        for number, wire, _, part in self._fields(self._content):
            match number, wire:
                case 7, 2:
                    graphs += 1
                    self._graph(part)
                case 8, 2:
                    self._domain(part, 1)
                case 14, 2:
                    key, value = self._entry(part)
                    if key in metadata:
                        raise ValueError(f"it has two metadata entries called {key[:40]!r}")
                    metadata[key] = value
                case (20, _) | (25, _):
                    raise ValueError(f"it holds {'functions' if number == 25 else 'a training graph'}")
                case (7, _) | (8, _) | (14, _):
                    raise ValueError("it is not an ONNX model")
        if graphs != 1:
            raise ValueError(f"it is not an ONNX model: found {graphs} graphs, expected 1")
        return metadata

    def names(self) -> set[str]:
        """Return the names of the metadata entries."""
        return {
            self._entry(part)[0] for number, wire, _, part in self._fields(self._content) if number == 14 and wire == 2
        }

    def _graph(self, graph: memoryview) -> None:
        for number, wire, _, part in self._fields(graph):
            match number, wire:
                case 1, 2:
                    self._node(part)
                case 5, 2:
                    self._tensor(part)
                case 15, _:
                    raise ValueError("it holds sparse tensors")
                case (1, _) | (5, _):
                    raise ValueError("it is not an ONNX model")

    def _node(self, node: memoryview) -> None:
        self._domain(node, 7)
        for number, wire, _, part in self._fields(node):
            if number == 4:
                name = _text(part)
                if name not in OPERATORS:
                    raise ValueError(f"it asks for the operator {name[:40]!r}, which no exported network uses")
            elif number == 5 and wire == 2:
                self._attribute(part)

    def _attribute(self, attribute: memoryview) -> None:
        for number, _, _, part in self._fields(attribute):
            if number in (5, 10):
                self._tensor(part)
            elif number in (6, 11):
                raise ValueError("it holds a graph within its graph")
            elif number in (22, 23):
                raise ValueError("it holds sparse tensors")

    def _tensor(self, tensor: memoryview) -> None:
        size, dimensions = 1, 0
        for number, wire, value, part in self._fields(tensor):
            if number in (13, 14) and (number == 13 or value != 0 or wire != 0):
                raise ValueError("it keeps tensors in another file; an exported file holds all of its own")
            if number == 1:
                for side in [value] if wire == 0 else self._varints(part):
                    dimensions += 1
                    size *= side
                    if dimensions > _MAX_DIMENSIONS or side > MAX_BYTES or size > 2 * len(tensor):
                        raise ValueError("it declares a tensor larger than what it holds of it")

    def _domain(self, message: memoryview, at: int) -> None:
        """Raise ValueError unless the operators are those of ONNX itself."""
        for number, _, _, part in self._fields(message):
            if number == at and _text(part) not in ("", "ai.onnx"):
                raise ValueError(f"it asks for operators of {_text(part)[:40]!r}, which are not part of ONNX")

    def _entry(self, entry: memoryview) -> tuple[str, str]:
        found = {number: _text(part) for number, _, _, part in self._fields(entry)}
        return found.get(1, ""), found.get(2, "")

    def _fields(self, message: memoryview) -> Iterator[_Field]:
        at, end = 0, len(message)
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise ValueError("it has more parts than any network")
            tag, at = _varint(message, at)
            number, wire = tag >> 3, tag & 7
            value, length = 0, 0
            match wire:
                case 0:
                    value, at = _varint(message, at)
                case 1:
                    length = 8
                case 2:
                    length, at = _varint(message, at)
                case 5:
                    length = 4
                case _:
                    raise ValueError("it is not an ONNX model")
            if number == 0 or at + length > end:
                raise ValueError("it is not an ONNX model, or cut off")
            yield number, wire, value, message[at : at + length]
            at += length

    def _varints(self, packed: memoryview) -> Iterator[int]:
        at = 0
        while at < len(packed):
            value, at = _varint(packed, at)
            yield value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return the unsigned number that begins at a position, and the position after it."""
    value = shift = 0
    while at < len(message) and shift < 70:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (2**64 - 1), at
        shift += 7
    raise ValueError("it is not an ONNX model, or cut off")


def _text(part: memoryview) -> str:
    try:
        return str(part, "utf-8")
    except UnicodeDecodeError:
        raise ValueError("it holds names that are no text") from None
