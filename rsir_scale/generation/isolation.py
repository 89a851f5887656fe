"""Writing in a process of its own, so that sources that kill it or never end cost themselves and nobody else.

Comes in: source sequences. Goes out: what is written from them, by a child process that holds the open augmenter. A
child that dies or is out of time is replaced, and the loss is an ordinary error here, which `quarantine` narrows down
to a source. It is used for shards that a pool broke over: sound ones take as long as ever, plus the start of a child.

Run as a module this is the child: it answers on the inherited pipe until the other end closes. What goes through the
pipe is pickled by these two processes for each other; nothing of a run directory is.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import torch

from rsir_scale.augmenters.quarantine import most_failures
from rsir_scale.augmenters.written import Written
from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import Sequences, open_dataset
from rsir_scale.errors import RsirError
from rsir_scale.generation.shard import Writer, open_writer
from rsir_scale.runs.begun import read_config
from rsir_scale.runs.run import Run
from rsir_scale.storage.opening import open_store

_LEAST_S = 20.0
_START_S = 600.0
_LONGEST_WAIT_S = 2e6  # of `poll`, which counts milliseconds in 32 bits


@dataclass(frozen=True)
class Where:
    """What a writer opens: addresses of run and dataset, the iteration, and the device it works on."""

    run: str
    dataset: str
    iteration: int
    device: str

    def open_run(self) -> Run:
        """The run, by the settings that it holds. Raises InputError, IntegrityError."""
        store = open_store(self.run)
        return Run(store, open_dataset(self.dataset), read_config(store))


def narrowing_s(config: Config) -> int:
    """Seconds that a shard takes at the most until the sources that hang are found, as many as may be set aside.

    It is tried whole before and after; between, of each halving both halves of what hangs, and each source twice.
    """
    shard, whole_s = config.generation.shard_sources, config.run.shard_timeout_s
    most = most_failures(shard, config.run.max_error_rate)
    seconds = 2 * max(_LEAST_S, whole_s) + (most + 1) * _LEAST_S
    for level in range(1, shard.bit_length() + 1):
        seconds += min(2 * (most + 1), 2**level) * max(_LEAST_S, whole_s / 2**level)
    return ceil(_START_S + seconds)


class LostProcessError(Exception):
    """The child died, or did not answer in time."""


class IsolatedWriter:
    """A `shard.Writer` whose work is done by a child process.

    Args:
        where: what the child opens.
        shard_s: seconds that a whole shard may take; fewer sources have less time, in proportion.
        shard_sources: sources of a whole shard.
    """

    def __init__(self, where: Where, *, shard_s: float, shard_sources: int) -> None:
        self._where = where
        self._shard_s = shard_s
        self._shard_sources = shard_sources
        self._child: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._started()

    def __call__(self, sources: Sequences) -> Written:
        """Write all rows of the sources.

        Raises:
            LostProcessError: the child died on them, or they took too long.
            Exception: what writing raised in the child.
        """
        seconds = max(_LEAST_S, self._shard_s * len(sources) / self._shard_sources)
        written = self._asked(sources, seconds)
        assert isinstance(written, Written)  # noqa: S101
        return written

    def close(self) -> None:
        """End the child."""
        if self._pipe is not None:
            self._pipe.close()
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        self._child = self._pipe = None

    def _started(self) -> None:
        ours, theirs = Pipe()
        self._pipe = ours
        with theirs:
            number = theirs.fileno()
            command = [sys.executable, "-m", __name__, str(number), str(os.getpid())]
            # What this process can import, a plug-in of the user's among it, the child must be able to.
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
            self._child = subprocess.Popen(command, pass_fds=[number], env=environment)
        try:
            self._answer(self._where, _START_S)
        except Exception:
            # One that could not open the run would take the next sources for its address.
            self.close()
            raise

    def _asked(self, sources: Sequences, seconds: float) -> object:
        if self._child is None:
            self._started()
        return self._answer(sources, seconds)

    def _answer(self, question: object, seconds: float) -> object:
        """Send a question and wait for its answer; a child that is lost over it is put away."""
        assert self._pipe is not None  # noqa: S101
        assert self._child is not None  # noqa: S101
        try:
            self._pipe.send(question)
            answered = self._pipe.poll(min(seconds, _LONGEST_WAIT_S))
            answer = self._pipe.recv() if answered else None
        except (EOFError, OSError):
            end = _end_of(self._child)
            self.close()
            raise LostProcessError(f"the process that wrote from it {end}") from None
        if not answered:
            self.close()
            raise LostProcessError(f"it took more than {seconds:.0f} s and was stopped")
        if isinstance(answer, Exception):
            raise answer
        return answer


def settle_arithmetic(device: str) -> None:
    """Make floating-point sums independent of how many cores the host has, and of the order on a GPU."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(device != "cpu", warn_only=True)


def _end_of(child: "subprocess.Popen[bytes]") -> str:
    code = child.wait()
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _serve(pipe: Connection) -> None:
    """Answer the other end's questions until it closes."""
    writer: Writer | None = None
    while True:
        question = pipe.recv()
        answer: object
        try:
            if writer is None:
                writer = _opened(question)
                answer = None
            else:
                answer = writer(question)
        except Exception as error:  # noqa: BLE001
            answer = _as_sent(error)
        pipe.send(answer)


def _opened(where: Where) -> Writer:
    settle_arithmetic(where.device)
    return open_writer(where.open_run(), where.iteration, device=where.device)


def _as_sent(error: Exception) -> Exception:
    """An error that can be pickled whatever it was: those of others may be made of anything."""
    if isinstance(error, RsirError):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")


def _end_with(parent: int) -> None:
    """End this process when its parent has: a question that is never answered must not outlive who asked."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _main(number: int, parent: int) -> None:
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        _serve(Connection(number))


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]))
