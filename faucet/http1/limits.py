"""The limits of a message, and their reasons."""

from __future__ import annotations

from typing import Final

HEAD_LIMIT: Final = 64 * 1024
"""Bytes of one head, start line included. Twice the default of nginx and HAProxy, since single sign-on cookies grow;
small enough that 10,000 hostile heads fit in memory."""

FIELD_COUNT_LIMIT: Final = 100
"""Field lines of one head, as in Apache and HAProxy."""

EMPTY_LINES_LIMIT: Final = 4
"""Empty lines before a request line (RFC 9112, 2.2 asks to skip at least one)."""

LARGEST_LENGTH: Final = 2**63 - 1
"""Bytes of a body or a chunk: the largest number that every parser can represent."""

CHUNK_LINE_LIMIT: Final = 4 * 1024
"""Bytes of one chunk-size line with its extensions, which are used only in attacks."""

CHUNKS_PER_TURN: Final = 100
"""Chunks of a request parsed before other callbacks of the loop get a turn. A read of 256 KiB can hold 40,000 chunks of
one byte, which take as many microseconds; with chunks of usual sizes this limit is never reached. A request passes
through the loop several times, and waits for a turn of every hostile client each time: eight of them delay it by 6 ms,
and by 60 ms with turns of 1,000."""

TRAILER_LIMIT: Final = 8 * 1024
"""Bytes of a trailer section."""

INTERIM_LIMIT: Final = 16
"""1xx responses to one request."""
