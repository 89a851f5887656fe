"""Requests to an object store that are made again while it is out of order.

Comes in: a request that may be made twice. Goes out: its answer, or the error that stayed. What the store understood
and refuses (no such key, no permission, a condition that does not hold) is told at once.
"""

import re
import time
from collections.abc import Callable
from typing import TypeVar

from obstore.exceptions import GenericError

Result = TypeVar("Result")
# Too slow, a conflict with another request, too many of them.
_PASSING = ("408", "409", "429")
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 5.0


def persist(request: Callable[[], Result], *, retry_s: float) -> Result:
    """Make a request until it is answered, with growing pauses, for `retry_s` seconds at the most."""
    deadline, pause = time.monotonic() + retry_s, _FIRST_PAUSE_S
    while True:
        try:
            return request()
        except GenericError as error:
            if _is_final(error) or time.monotonic() + pause > deadline:
                raise
        # Many workers that were refused at once must not come back at once.
        time.sleep(pause * (0.5 + time.time_ns() % 1000 / 1000))
        pause = min(2 * pause, _LONGEST_PAUSE_S)


def _is_final(error: GenericError) -> bool:
    code = re.search(r"status code: (\d+)", str(error))
    return code is not None and code[1].startswith("4") and code[1] not in _PASSING
