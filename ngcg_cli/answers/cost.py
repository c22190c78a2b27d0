"""What asking a large model costs: told before it begins, and in time after its first batch."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger(__name__)

# Less than this need not be told.
_LEAST_S = 10.0


class Cost:
    """Tells how much work there is, and once it is known, how long it takes.

    Args:
        what: for people, such as "smolvlm-500m looks at 50 tiles again".
        total: of what `done` counts.
    """

    def __init__(self, what: str, total: int) -> None:
        logger.info("%s", what)
        self._total, self._done, self._told = total, 0, False
        self._began = time.monotonic()

    def done(self, count: int) -> None:
        """So many more are done."""
        self._done += count
        if self._told or not self._done:
            return
        self._told = True
        each = (time.monotonic() - self._began) / self._done
        left = each * (self._total - self._done)
        if left >= _LEAST_S:
            logger.info("%.2g s each, about %s left", each, duration(left))


def duration(seconds: float) -> str:
    """For people: "40 s", "12 min", "3.5 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
