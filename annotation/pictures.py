"""Pictures that stand in a text as data: what kind they are, and how large, from their first bytes.

Their size is needed so that a page keeps their place while they load; a kind that is not one of these is not shown.
"""

import binascii
import re

DATA = re.compile(r"data:image/(png|jpeg|jpg|gif|webp);base64,([A-Za-z0-9+/]{16,}={0,2})")

HEAD = 256 * 1024  # a photograph may carry a preview and its camera's notes before it says its size


def size(payload: str) -> tuple[int, int] | None:
    """Width and height of a base64 PNG, JPEG, GIF or WebP; None for anything else."""
    try:
        head = binascii.a2b_base64(payload[: HEAD // 3 * 4] + "==")
    except binascii.Error:
        return None
    if head[:8] == b"\x89PNG\r\n\x1a\n" and head[12:16] == b"IHDR" and len(head) >= 24:
        found = _big(head, 16, 4), _big(head, 20, 4)
    elif head[:6] in (b"GIF87a", b"GIF89a") and len(head) >= 10:
        found = _little(head, 6, 2), _little(head, 8, 2)
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP" and len(head) >= 30:
        found = _webp(head)
    elif head[:2] == b"\xff\xd8":
        found = _jpeg(head)
    else:
        return None
    return found if found and min(found) > 0 else None


def _big(data: bytes, start: int, length: int) -> int:
    return int.from_bytes(data[start : start + length], "big")


def _little(data: bytes, start: int, length: int) -> int:
    return int.from_bytes(data[start : start + length], "little")


def _webp(head: bytes) -> tuple[int, int] | None:
    if head[12:16] == b"VP8 ":
        return _little(head, 26, 2) & 0x3FFF, _little(head, 28, 2) & 0x3FFF
    if head[12:16] == b"VP8L":
        bits = _little(head, 21, 4)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if head[12:16] == b"VP8X":
        return _little(head, 24, 3) + 1, _little(head, 27, 3) + 1
    return None


def _jpeg(head: bytes) -> tuple[int, int] | None:
    """A JPEG is a row of segments; its size stands in the start of frame, C0 to CF but for C4, C8, CC."""
    at = 2
    while at + 9 < len(head) and head[at] == 0xFF:
        mark = head[at + 1]
        if 0xC0 <= mark <= 0xCF and mark not in (0xC4, 0xC8, 0xCC):
            return _big(head, at + 7, 2), _big(head, at + 5, 2)
        at += 2 + max(_big(head, at + 2, 2), 2)
    return None
