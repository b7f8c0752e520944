"""Dates as HTTP writes them (RFC 9110, 5.6.7), in English whatever the locale."""

from __future__ import annotations

from functools import lru_cache
from time import gmtime

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@lru_cache(maxsize=1)
def http_date(seconds: int) -> str:
    """Return `Sun, 06 Nov 1994 08:49:37 GMT` for `seconds` since 1970.

    The last result is cached, so only one date per second is formatted, regardless of the number of responses.
    """
    at = gmtime(seconds)
    day, month = _DAYS[at.tm_wday], _MONTHS[at.tm_mon - 1]
    return f"{day}, {at.tm_mday:02} {month} {at.tm_year:04} {at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} GMT"
