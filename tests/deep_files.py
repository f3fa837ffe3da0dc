"""Images of more than 8 bits a channel, written byte by byte where no program at hand writes them."""

import struct
import zlib

import numpy as np


def lzw(content):
    """Compress as TIFF does, in the simplest way: bytes as they are, and the table cleared before it grows wide."""
    codes = []
    for start in range(0, len(content), 200):
        codes += [256, *content[start : start + 200]]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))


def tiff(values, *, photometric, apart=False, compression=1, tags=()):
    """A little-endian TIFF of (H, W, channels) of uint16, one strip, or one for each channel."""
    height, width, channels = values.shape
    parts = [values[..., k] for k in range(channels)] if apart else [values]
    pack = {1: bytes, 5: lzw, 8: zlib.compress}[compression]
    strips = [pack(part.astype("<u2").tobytes()) for part in parts]
    offsets = [8 + sum(map(len, strips[:k])) for k in range(len(strips))]
    entries = [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [16] * channels),
        (259, 3, [compression]),
        (262, 3, [photometric]),
        (273, 4, offsets),
        (277, 3, [channels]),
        (278, 4, [height]),
        (279, 4, [len(strip) for strip in strips]),
        (284, 3, [2 if apart else 1]),
        *tags,
    ]
    begin = 8 + sum(map(len, strips))
    begin += begin % 2
    after = begin + 2 + 12 * len(entries) + 4
    directory, more = struct.pack("<H", len(entries)), b""
    for tag, kind, numbers in sorted(entries):
        packed = struct.pack(f"<{len(numbers)}{'HI'[kind == 4]}", *numbers)
        if len(packed) > 4:
            directory += struct.pack("<HHII", tag, kind, len(numbers), after + len(more))
            more += packed
        else:
            directory += struct.pack("<HHI", tag, kind, len(numbers)) + packed.ljust(4, b"\0")
    body = b"II*\0" + struct.pack("<I", begin) + b"".join(strips)
    return body.ljust(begin, b"\0") + directory + bytes(4) + more


def png(values, *, significant=None):
    """A PNG of (H, W, channels) of uint16, with its chunk sBIT if `significant` is given."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))]
    if significant is not None:
        chunks.append((b"sBIT", bytes([significant] * channels)))
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def colours(height=12, width=20):
    """(H, W, 3) uint8, different everywhere and from 0 to 255."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 255 // (width - 1), y * 255 // (height - 1), 255 - x * 255 // (width - 1)], -1)
    return pixels.astype(np.uint8)
