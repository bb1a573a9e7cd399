"""Text cleanup: what a line says, without what its writer's tools put around it.

Escape codes, markup tags, time stamps and ids differ in every line and carry no meaning that
another sensor could share. What remains is NFKC with single spaces; numbers are one word each
("0"), so that a counter does not make every line new. An empty line says nothing and is dropped;
a repeated one is kept: that it happens again, and when, is what a line is for.
"""

import html
import re
import unicodedata

ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[@-Z\\^_])"
)
"""ECMA-48 control sequences, operating system commands and strings."""
TAGS = re.compile(r"</?[A-Za-z][^<>]{0,200}>|\{\\[^{}]{0,200}\}|<\d\d:\d\d[\d:.]*>")
"""HTML, XML, WebVTT and SubStation tags; times within a WebVTT line."""
STAMPS = re.compile(
    r"""
    \b\d{4}[-/.]\d\d[-/.]\d\d (?:[T_\ ]+\d\d:?\d\d(?::?\d\d(?:[.,]\d+)?)?)?
        (?:\s?(?:Z\b|UTC\b|[+-]\d\d:?\d\d\b))?              # 2024-05-01T12:00:00.123+02:00
    | \b\d\d[-/.]\d\d[-/.]\d{4}\b                           # 01.05.2024
    | \b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\s+\d{1,2}(?=\s+\d\d:\d\d:\d\d)
    | (?<![\d:])\d{1,2}:\d\d:\d\d(?:[.,]\d+)?(?![\d:])      # 12:00:00,123
    | ^\s*\[\s*\d+[.,]\d+\s*\]                              # [   12.345678] of a kernel
    | ^\s*\d{9,19}(?:[.,]\d+)?\b                            # seconds … nanoseconds since 1970
    """,
    re.VERBOSE | re.IGNORECASE,
)
IDS = re.compile(
    r"""
    \b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b    # UUID
    | \b0x[0-9a-f]+\b
    | \b(?:[0-9a-f]{2}[:-]){5,}[0-9a-f]{2}\b                            # MAC address
    | \b(?=[0-9a-f]*\d)(?=\d*[a-f])[0-9a-f]{7,64}\b                     # hash
    """,
    re.VERBOSE | re.IGNORECASE,
)
INVISIBLE = {"Cc": " ", "Cf": "", "Cs": ""}
"""Control characters, joiners and marks of direction, halves of characters, by category."""
NUMBERS = re.compile(r"(?<![^\W_])\d+(?:[.,:]\d+)*")
"""Numbers, also with a unit behind; after letters they belong to a name ("speaker MEE009")."""


def clean_line(text: str) -> str:
    """A line without codes, tags, stamps, ids; empty where nothing is left but punctuation."""
    text = ESCAPES.sub("", text)
    text = TAGS.sub(" ", text)
    if "&" in text:
        text = html.unescape(text)
    text = unicodedata.normalize("NFKC", text)
    text = "".join(INVISIBLE.get(unicodedata.category(c), c) for c in text)
    text = IDS.sub(" ", STAMPS.sub(" ", text))
    text = " ".join(NUMBERS.sub("0", text).split())
    return text if any(unicodedata.category(c)[0] in "LNS" for c in text) else ""
