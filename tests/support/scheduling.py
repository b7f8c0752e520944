"""Which process runs which test, if there are several: the next that is free, except where a file shares much.

pytest-xdist has groups for that, by a mark. They have no effect with pytest 9, which no longer lets a test be renamed.
"""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

TOGETHER = ("tests/cluster/test_lease.py", "tests/rigs/test_package.py", "tests/rigs/test_site.py")
"""Files whose tests share what takes seconds to make: a Kubernetes API server, a wheel, the site."""


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out one test after the other, and the tests of some files together."""

    def _split_scope(self, nodeid: str) -> str:
        """Return what is handed out as one."""
        file = nodeid.partition("::")[0]
        return file if file in TOGETHER else nodeid
