"""SIGINT and SIGTERM: end within ten seconds, exit 3, and leave the resuming command as the last line.

Comes in: what to say at the end. The first signal interrupts the main thread, which then has eight seconds to leave the
run in order; a second signal, or the end of that time, ends the process where it stands. That is as safe as order:
whatever counts in a run directory was committed before. Ray takes SIGTERM over when it starts, hence `arm`.
"""

import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Self

from rsir_scale.errors import ResumableError

GRACE_S = 8.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StoppedError(ResumableError):
    """The run was told to stop; the command line leaves without waiting for threads and cluster."""

    leave_at_once = True


class Stopper:
    """Handlers of both signals while the `with` block lasts; does nothing outside the main thread.

    Args:
        last_line: the command that resumes the run.
        grace_s: seconds that the main thread has to leave in order.
    """

    def __init__(self, last_line: str, *, grace_s: float = GRACE_S) -> None:
        self.last_line = last_line
        self._grace_s = grace_s
        self._received: int | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        if _in_main_thread():
            self._before = {number: signal.getsignal(number) for number in _SIGNALS}
        self.arm()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._received is None:
            for number, handler in self._before.items():
                signal.signal(number, handler)  # type: ignore[arg-type]

    def arm(self) -> None:
        """Install the handlers, again where somebody replaced them."""
        if _in_main_thread():
            for number in _SIGNALS:
                signal.signal(number, self._on_signal)

    def message(self) -> str:
        """What to say when the run was stopped; its last line is the command."""
        name = signal.Signals(self._received).name if self._received else "an interrupt"
        return f"stopped by {name}; what is committed is kept, and this goes on from there:\n{self.last_line}"

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self._received is not None:
            self._leave()
        self._received = number
        watchdog = threading.Timer(self._grace_s, self._leave)
        watchdog.daemon = True
        watchdog.start()
        raise KeyboardInterrupt

    def _leave(self) -> None:
        sys.stderr.write(f"\n{self.message()}\n")
        sys.stderr.flush()
        os._exit(ResumableError.exit_code)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
