"""What a zip archive says of itself, before a member of it is read."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from equiaudit.errors import InputError

_ZIP = b"PK\x03\x04"
_END, _END_64 = b"PK\x05\x06", b"PK\x06\x06"
_TAIL = (1 << 16) + 128  # bytes: the longest comment and the two records before it
# Archives of torch store weights as they are and compress code alone.
_UNPACKED_ROOM = 1 << 28
_LARGEST_DIRECTORY = 8 << 20  # bytes; about a hundred for each tensor
_DAMAGED_TIP = "Copy or download it again."


def is_zip(head: bytes) -> bool:
    """Whether a file that begins with `head` is one that torch opens as an archive."""
    return head.startswith(_ZIP)


def zip_names(file: IO[bytes], *, what: str) -> list[str]:
    """The names of the members.

    Raises InputError where the archive is damaged, lists too much, or would unpack to far more
    than it is.
    """
    packed = file.seek(0, os.SEEK_END)
    if _directory_size(file, packed) > _LARGEST_DIRECTORY:
        raise InputError(
            f"{what} lists more members than an archive of weights has.",
            tip="Save the model again with torch.",
        )
    members = _members(file, what)
    unpacked = sum(member.file_size for member in members)
    if unpacked > 2 * packed + _UNPACKED_ROOM:
        raise InputError(
            f"{what} is {packed >> 10} KiB and would unpack to {unpacked >> 10} KiB, which no"
            " archive of weights does.",
            tip="Save the model again with torch.",
        )
    return [member.filename for member in members]


def member_bytes(archive: Path, name: str, most: int) -> bytes | None:
    """Up to `most` bytes of a member, named below the archive's own folder; None if it has none.

    torch finds members in any case, and so does this.
    """
    return next((content for _, content in members_bytes(archive, [name], most)), None)


def members_bytes(archive: Path, names: Sequence[str], most: int) -> Iterator[tuple[str, bytes]]:
    """`member_bytes` of those of `names` that are there, in their order."""
    with zipfile.ZipFile(archive) as opened:
        found: dict[str, zipfile.ZipInfo] = {}
        for member in opened.infolist():
            found.setdefault(member.filename.partition("/")[2].lower(), member)
        for name in names:
            if name.lower() in found:
                with opened.open(found[name.lower()]) as file:
                    yield name, file.read(most)


def _directory_size(file: IO[bytes], packed: int) -> int:
    """The size, bytes, that the records at the end state; either of them may be read by."""
    file.seek(max(0, packed - _TAIL))
    tail = file.read(_TAIL)
    ends = ((tail.rfind(_END), "<I", 12), (tail.rfind(_END_64), "<Q", 40))
    try:
        stated = [
            struct.unpack_from(form, tail, at + skip)[0] for at, form, skip in ends if at >= 0
        ]
    except struct.error:
        return 0
    return max((size for size in stated if size != 0xFFFFFFFF), default=0)


def _members(file: IO[bytes], what: str) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.infolist()
    except Exception as error:  # zipfile raises several kinds for damaged directories
        raise InputError(f"{what} is a damaged or truncated archive.", tip=_DAMAGED_TIP) from error
