"""Makes a picture of a page small: 256 colours, in one byte each."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunks(data: bytes):
    place = len(SIGNATURE)
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        yield data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        place += 12 + length


def pixels(data: bytes) -> np.ndarray:
    """The picture as height × width × 3 bytes. Reads what Chromium writes: 8 bits, RGB or RGBA, not interlaced."""
    parts = list(chunks(data))
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", parts[0][1])
    if depth != 8 or kind not in (2, 6) or interlaced:
        raise ValueError(f"Found depth {depth}, colour type {kind}; expected 8 bits of RGB or RGBA.")
    size = 3 if kind == 2 else 4
    raw = zlib.decompress(b"".join(body for name, body in parts if name == b"IDAT"))
    rows = np.frombuffer(raw, np.uint8).reshape(height, 1 + width * size)
    image = np.zeros((height, width, size), np.uint8)
    above = np.zeros((width, size), np.uint8)
    for y in range(height):
        above = image[y] = unfilter(rows[y, 0], rows[y, 1:].reshape(width, size), above)
    return image[:, :, :3]


def unfilter(how: int, row: np.ndarray, above: np.ndarray) -> np.ndarray:
    if how == 0:
        return row
    if how == 1:
        return np.cumsum(row, axis=0, dtype=np.uint8)
    if how == 2:
        return row + above
    line = np.zeros((len(row) + 1, row.shape[1]), int)
    up = np.vstack([np.zeros((1, row.shape[1]), int), above.astype(int)])
    for x in range(1, len(line)):
        left, top, corner = line[x - 1], up[x], up[x - 1]
        if how == 3:
            guess = (left + top) // 2
        else:  # Paeth
            base = left + top - corner
            a, b, c = abs(base - left), abs(base - top), abs(base - corner)
            guess = np.where((a <= b) & (a <= c), left, np.where(b <= c, top, corner))
        line[x] = (row[x - 1] + guess) & 255
    return line[1:].astype(np.uint8)


def with_palette(image: np.ndarray) -> bytes:
    """A PNG of 256 of its colours; every other pixel takes the nearest of them."""
    height, width, _ = image.shape
    flat = image.reshape(-1, 3).astype(np.int32)
    colours, place, count = np.unique(
        flat @ np.array([65536, 256, 1]), return_inverse=True, return_counts=True
    )
    all_of_them = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1)
    palette = chosen(all_of_them, count)
    nearest = np.concatenate(
        [
            ((some[:, None, :] - palette[None]) ** 2).sum(axis=2).argmin(axis=1)
            for some in np.array_split(all_of_them, max(1, len(all_of_them) // 2000))
        ]
    )
    index = nearest[place].astype(np.uint8).reshape(height, width)
    rows = np.hstack([np.zeros((height, 1), np.uint8), index])
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", palette.astype(np.uint8).tobytes()),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    ]
    return SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    )


def chosen(colours: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The most frequent colours, and then those farthest from what is chosen: a small green dot stays green."""
    order = np.argsort(-count)
    picked = list(order[:160])
    apart = np.full(len(colours), np.inf)
    for start in range(0, len(picked), 16):
        some = colours[picked[start : start + 16]]
        apart = np.minimum(apart, ((colours[:, None] - some[None]) ** 2).sum(axis=2).min(axis=1))
    while len(picked) < 256 and apart.max() > 0:
        picked.append(int(np.argmax(apart * (count > 2))))
        apart = np.minimum(apart, ((colours - colours[picked[-1]]) ** 2).sum(axis=1))
    return colours[np.sort(picked)]


def shrink(path: Path) -> None:
    path.write_bytes(with_palette(pixels(path.read_bytes())))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        shrink(Path(name))
