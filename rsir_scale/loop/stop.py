"""SIGINT and SIGTERM: end within ten seconds, exit 3, and leave the resuming command as the last line.

Comes in: what to say at the end. The first signal interrupts the main thread, which then has eight seconds to leave the
run in order; a second signal, or the end of that time, ends the process where it stands. That is as safe as order:
whatever counts in a run directory was committed before.

A thread learns of signals through `signal.set_wakeup_fd`, so the end comes even where no handler of ours does anything:
Ray takes SIGTERM over when it starts (`around_ray`), an exception that a handler raises is lost inside a callback that
ignores exceptions, and a main thread that is in C runs no handler at all.
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

from rsir_scale.errors import ResumableError

GRACE_S = 8.0
_TELL_S = 1.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StoppedError(ResumableError):
    """The run was told to stop; the command line leaves without waiting for threads and cluster."""

    leave_at_once = True


class Stopper:
    """Handlers of both signals while the `with` block lasts; does nothing outside the main thread.

    Args:
        last_line: the command that resumes the run.
        grace_s: seconds that the main thread has to leave in order.

    Attributes:
        tell: called before the process is ended where it stands, and not waited for longer than a second.
    """

    def __init__(self, last_line: str, *, grace_s: float = GRACE_S) -> None:
        self.last_line = last_line
        self.tell: Callable[[], None] = _nothing
        self._grace_s = grace_s
        self._received: int | None = None
        self._interrupted = False
        self._before: dict[signal.Signals, object] = {}
        self._wakeup: tuple[int, int] | None = None  # where signals are written, and where they were before

    def __enter__(self) -> Self:
        if _in_main_thread():
            self._before = {number: signal.getsignal(number) for number in _SIGNALS}
            self._listen()
        self._arm()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._received is None:
            self._restore()

    def _arm(self) -> None:
        if _in_main_thread():
            for number in _SIGNALS:
                signal.signal(number, self._on_signal)

    @contextmanager
    def around_ray(self) -> Iterator[None]:
        """Surround what makes Ray install a handler of its own, which ends the process by SystemExit."""
        try:
            yield
        except SystemExit as end:
            if end.code != signal.SIGTERM:
                raise
            self._received, self._interrupted = signal.SIGTERM, True
            raise KeyboardInterrupt from None
        finally:
            self._arm()

    def disarm(self) -> None:
        """The main thread has left the run in order: the process may live on, in a notebook for example."""
        self._restore()

    def message(self) -> str:
        """What to say when the run was stopped; its last line is the command."""
        name = signal.Signals(self._received).name if self._received else "an interrupt"
        return f"stopped by {name}; what is committed is kept, and this goes on from there:\n{self.last_line}"

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        # A second one is the listening thread's to answer.
        if not self._interrupted:
            self._received, self._interrupted = number, True
            raise KeyboardInterrupt

    def _listen(self) -> None:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        self._wakeup = writer, signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        threading.Thread(target=self._until_told, args=(reader,), daemon=True).start()

    def _until_told(self, reader: int) -> None:
        """Read signals until the pipe is closed; at a second one, or when the grace is over, end the process."""
        until: float | None = None
        try:
            while select.select([reader], [], [], None if until is None else max(0.0, until - time.monotonic()))[0]:
                told = os.read(reader, 1)
                if not told:
                    return
                if told[0] in _SIGNALS:
                    if until is not None:
                        break
                    self._received, until = told[0], time.monotonic() + self._grace_s
            self._leave()
        finally:
            os.close(reader)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        if self._wakeup is not None:
            writer, before = self._wakeup
            signal.set_wakeup_fd(before)
            os.close(writer)
            self._wakeup = None

    def _leave(self) -> None:
        # In a thread of its own: the main thread may hold what telling needs, and a store may not answer.
        telling = threading.Thread(target=self.tell, daemon=True)
        telling.start()
        telling.join(_TELL_S)
        sys.stderr.write(f"\n{self.message()}\n")
        sys.stderr.flush()
        os._exit(ResumableError.exit_code)


def _nothing() -> None:
    """Nobody is to be told."""


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
