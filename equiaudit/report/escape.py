"""Names come from files anyone may have written: each function makes one harmless somewhere."""

from __future__ import annotations

import re

LONGEST_NAME = 160


def visible(text: str, longest: int = LONGEST_NAME) -> str:
    r"""`text` on one line with nothing invisible in it.

    Control, formatting (bidirectional, zero-width) and unassigned characters become ``\n``,
    ``\x1b``, ``\u202e``; what is longer than `longest` characters loses its middle.
    """
    shown = "".join(c if c.isprintable() else _spelled(c) for c in text)
    if not shown.strip():
        return "(blank)"
    if len(shown) <= longest:
        return shown
    head = longest * 2 // 3
    return f"{shown[:head]}…{shown[-(longest - head - 1) :]}"


def _spelled(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def terminal(text: str, longest: int = LONGEST_NAME) -> str:
    """`visible`, and no workflow command where a log is read by a CI runner."""
    return visible(text, longest).replace("::", r":\x3a").replace("##[", r"##\x5b")


def code_span(text: str) -> str:
    r"""`text` as a Markdown code span that also holds inside a table cell.

    In a code span nothing is markup but its own end, and in a table the bar; those are spelled
    ``\x60`` and ``\x7c``.
    """
    spelled = {"`": r"\x60", "|": r"\x7c"}
    shown = "".join(spelled.get(c, c) for c in visible(text))
    return f"`{shown}`"


def workflow_message(text: str) -> str:
    """The message of a GitHub workflow command: percent, CR and LF encoded."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def workflow_property(text: str) -> str:
    """A property of a GitHub workflow command: as the message, and colon and comma."""
    return workflow_message(text).replace(":", "%3A").replace(",", "%2C")


_ACTIVE = re.compile(r"([\\`*_\[\]{}()#|~$!])")
_LIST_MARK = re.compile(r"^(\d+)([.)])|^([-+=:])")
_AUTOLINKS = re.compile(r"@|(?<=:)/(?=/)|(?<=www)\.|(?<=xmpp):|(?<=mailto):", re.IGNORECASE)


def prose(text: str) -> str:
    r"""`text` as a line of Markdown that reads as it is written.

    Markup is escaped; what GitHub would turn into a link or a mention on its own (an at
    sign, ``://``, ``www.``) is spelled, since no escape stops that.
    """
    shown = _AUTOLINKS.sub(lambda hit: f"\\x{ord(hit[0]):02x}", visible(text, 600).strip())
    escaped = _ACTIVE.sub(r"\\\1", shown)
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        escaped = escaped.replace(char, entity)
    return _LIST_MARK.sub(r"\1\\\2\3", escaped)


_PICTURE = re.compile(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/]+={0,2}")


def is_picture(uri: str) -> bool:
    """Whether `uri` is a `data:` URI of a picture and nothing else."""
    return _PICTURE.fullmatch(uri) is not None
