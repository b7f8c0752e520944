"""The grammar of RFC 9110 and RFC 9112 as regular expressions over bytes.

All are linear: every repetition is possessive (`*+`, `++`), within an atomic group (`(?>…)`), or followed by a byte
that it cannot itself match, so a mismatch never tries the same bytes twice. Groups are atomic, never possessive: before
Python 3.11.5, thus on Debian 12, a possessive group keeps what it has read of a repetition that fails in its middle
(cpython gh-106052). None uses `\\d`, `\\s`, `\\w`, `$` or `.`, whose meanings are wider than the RFC's. Compare with
`fullmatch` or at a known position, never with `search` from an unknown one.
"""

from __future__ import annotations

import re
from typing import Final

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
"""RFC 9110, 5.6.2: a token, e.g. a method or a field name."""

FIELD_VALUE: Final = rb"[\t\x20-\x7e\x80-\xff]*+"
"""RFC 9110, 5.5, with surrounding blanks: anything but control octets; obs-text (0x80-0xff) is allowed."""

TARGET: Final = rb"[\x21\x22\x24-\x7e]++"
"""RFC 9112, 3.2: visible octets. `#` starts a fragment, which is never sent."""

FIELD_LINE: Final = TOKEN + rb":" + FIELD_VALUE + rb"\r\n"

REQUEST_LINE: Final = re.compile(rb"(" + TOKEN + rb") (" + TARGET + rb") HTTP/1\.([0-9])")
"""RFC 9112, 3. Groups: method, target, minor version (one digit: 2.3)."""

ANY_VERSION_LINE: Final = re.compile(TOKEN + rb" " + TARGET + rb" [A-Za-z0-9]++/[0-9]++(?>\.[0-9]++|)")
"""A request line that is valid except for its version: 505 rather than 400."""

CODING: Final = re.compile(TOKEN)
"""A transfer coding without parameters, which are not used in practice."""

STATUS_LINE: Final = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?> " + FIELD_VALUE + rb"|)")
"""RFC 9112, 4. Groups: minor version, status code. Many servers leave out the blank before an empty reason."""

FIELDS: Final = re.compile(rb"(?>(?:" + FIELD_LINE + rb")*)")
"""A whole field section without its closing empty line."""

NAME_AND_VALUE: Final = re.compile(rb"([^:]++):([^\r]*+)\r\n")
"""One field of a section that FIELDS has accepted. Groups: name, value with the blanks around it."""

HEAD_ILLEGAL: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n")
"""Octets that are illegal anywhere in a head: controls, a bare CR, a bare LF. A CR at the very end is undecided."""

LENGTH: Final = re.compile(rb"[0-9]{1,19}")
"""RFC 9110, 8.6. `int()` alone would also take signs, underscores, blanks and other alphabets' digits."""

HOST = re.compile(rb"(?:\[([0-9A-Fa-f:.]++)\]|(?>(?:[0-9A-Za-z\-._~!$&'(*+),;=]|%[0-9A-Fa-f]{2})*))(?>:([0-9]*+)|)")
"""RFC 9110, 7.2: `uri-host [":" port]`. May be empty. Groups: the address between brackets, the port."""

ABSOLUTE_FORM: Final = re.compile(rb"([A-Za-z][A-Za-z0-9+\-.]*+)://([^/?]++)(?>[/?][\x21-\x7e]*+|)")
"""RFC 9112, 3.2.2. Groups: the scheme, the authority."""

QUOTED_STRING: Final = rb'"(?>(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*)"'
"""RFC 9110, 5.6.4."""

BWS: Final = rb"[\t\x20]*+"
"""RFC 9110, 5.6.3: "bad" whitespace, which a sender must not generate and a recipient has to accept."""

CHUNK_EXTENSION = rb";" + BWS + TOKEN + rb"(?>" + BWS + rb"=" + BWS + rb"(?:" + TOKEN + rb"|" + QUOTED_STRING + rb")|)"

CHUNK_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,16})(?>" + CHUNK_EXTENSION + rb"(?>(?:" + BWS + CHUNK_EXTENSION + rb")*)|)\r\n"
)
"""RFC 9112, 7.1. Group: the size. At most 16 digits; no sign, no `0x`, no blanks behind them.

A recipient ignores unknown extensions (7.1.1). But an extension that violates the grammar (no name, a value that is
neither a token nor a quoted-string, an open quote) is refused in both directions: it is most likely an attack, and
parsers that skip it do not agree on where it ends."""

CHUNK_LINE_BEGIN: Final = re.compile(rb"(?>[0-9A-Fa-f]{1,16}+(?>;[\t\x20-\x7e\x80-\xff]*+|)\r?+|)")
"""An incomplete CHUNK_LINE. Extensions are checked when the line is complete."""

CHUNK_SIZE_BEGIN: Final = re.compile(rb"[0-9A-Fa-f]{1,16}+;")
"""The beginning of a chunk line with a valid size, so that the error is in the extension."""
