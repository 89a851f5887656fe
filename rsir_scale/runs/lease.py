"""One driver at a time: the lease on a run directory.

Generations `lease/00000.json`, `lease/00001.json` … are created only if absent; the highest is the current one, and its
holder alone replaces it, to renew or to release. A dead holder on the same host (process gone, or another start time or
boot) is succeeded at once, a silent one elsewhere after its expiry, a live one never. Whoever was succeeded learns it
from the higher generation: `assert_held` before each manifest, and the renewing thread in between. Time comes from one
injected clock; a clock that is set back delays a take-over, it never allows two holders to finish an iteration.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from rsir_scale.errors import IntegrityError, LeaseHeldError, ResumableError
from rsir_scale.runs import layout
from rsir_scale.runs.process import Process, this_process
from rsir_scale.runs.records import Record
from rsir_scale.storage.base import AlreadyExistsError, Store

Clock = Callable[[], float]
DURATION_S = 120.0
_RENEWALS_PER_DURATION = 4


class LeaseRecord(Record):
    """Who holds the run; times in seconds since 1970, by the holder's clock."""

    holder: Process
    since: float
    expires_at: float
    released: bool = False


class Lease:
    """The right to drive a run, from `acquire` or `with` until `release`.

    Args:
        duration_s: seconds without renewal after which another host may take over.
        clock: seconds since 1970.
        process: who takes the lease.
    """

    def __init__(
        self,
        store: Store,
        *,
        duration_s: float = DURATION_S,
        clock: Clock = time.time,
        process: Process | None = None,
    ) -> None:
        self._store = store
        self._duration_s = duration_s
        self._clock = clock
        self._process = process or this_process()
        self._generation = -1
        self._since = 0.0
        self._lost = threading.Event()
        self._stop = threading.Event()
        self._renewer: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lease and keep renewing it from a background thread.

        Raises:
            LeaseHeldError: somebody lives, or may live until the time that is named.
        """
        current = _highest(self._store)
        if current >= 0:
            _refuse_if_held(self._store, current, self._process, self._clock())
        self._since = self._clock()
        try:
            self._store.create(layout.lease(current + 1), self._record().to_bytes())
        except AlreadyExistsError:
            # Another contender was faster: whether it lives decides who is named in the message.
            _refuse_if_held(self._store, current + 1, self._process, self._clock())
            raise LeaseHeldError(
                f"{self._store.root}: another driver started at the same moment: run the same command again"
            ) from None
        self._generation = current + 1
        self._renewer = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._renewer.start()

    def assert_held(self) -> None:
        """Return if this driver may still write.

        Raises:
            ResumableError: the lease was never taken, was released, or another driver has succeeded.
        """
        if self._generation < 0 or self._stop.is_set():
            raise ResumableError(f"{self._store.root}: this driver holds no lease: run the same command again")
        if self._lost.is_set() or self._store.exists(layout.lease(self._generation + 1)):
            self._lost.set()
            raise ResumableError(
                f"{self._store.root}: another driver took this run over while this one was silent; nothing that counts "
                "was written since: let it finish, or stop it and run the same command again"
            )

    def release(self) -> None:
        """Let the next driver in at once; does nothing without a lease."""
        if self._generation < 0 or self._stop.is_set():
            return
        self._stop.set()
        if self._renewer is not None:
            self._renewer.join()
        # Where the store fails now, the next driver finds this process dead or its lease expired.
        with suppress(ResumableError):
            if not self._lost.is_set():
                self._store.put(layout.lease(self._generation), self._record(released=True).to_bytes())

    def renew(self) -> None:
        """Move the expiry forward, or notice that another driver has succeeded. Raises ResumableError."""
        self.assert_held()
        self._store.put(layout.lease(self._generation), self._record().to_bytes())

    def _keep(self) -> None:
        while not self._stop.wait(self._duration_s / _RENEWALS_PER_DURATION):
            try:
                self.renew()
            except ResumableError:
                # A store that fails now and then must not end a run: the lease lasts several renewals, and whether it
                # is lost is decided by `assert_held` before anything that counts.
                if self._lost.is_set():
                    return

    def _record(self, *, released: bool = False) -> LeaseRecord:
        return LeaseRecord(
            holder=self._process, since=self._since, expires_at=self._clock() + self._duration_s, released=released
        )


def is_held(store: Store, *, clock: Clock = time.time) -> bool:
    """Whether a driver works on the run, or may still do so. Raises IntegrityError."""
    current = _highest(store)
    if current < 0:
        return False
    try:
        _refuse_if_held(store, current, this_process(), clock())
    except LeaseHeldError:
        return True
    return False


def _highest(store: Store) -> int:
    """The highest generation, -1 before the first; found by doubling and halving, since readers never list."""
    if not store.exists(layout.lease(0)):
        return -1
    low, high = 0, 1
    while store.exists(layout.lease(high)):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if store.exists(layout.lease(middle)) else (low, middle)
    return low


def _read(store: Store, generation: int) -> LeaseRecord:
    name = f"{store.root}/{layout.lease(generation)}"
    try:
        return LeaseRecord.from_bytes(store.read(layout.lease(generation)), name)
    except IntegrityError as error:
        raise IntegrityError(
            f"{name} is damaged, so who drives this run is not known; nothing of the run itself is in it: see that no "
            "driver works on the run, remove the file and run the same command again"
        ) from error


def _refuse_if_held(store: Store, generation: int, process: Process, now: float) -> None:
    record = _read(store, generation)
    holder = record.holder
    if record.released:
        return
    alive = holder.alive_seen_from(process)
    if alive is False or (alive is None and now >= record.expires_at):
        return
    who = f"{store.root} is held by process {holder.pid} on host {holder.host} since {_when(record.since)}"
    if alive:
        raise LeaseHeldError(f"{who}, which is alive: wait for it, or stop it and run the same command again")
    raise LeaseHeldError(
        f"{who}; whether it lives cannot be seen from {process.host}: it may be taken over after "
        f"{_when(record.expires_at)} ({record.expires_at - now:.0f} s from now); run the same command again then"
    )


def _when(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, tz=UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError) as error:
        raise IntegrityError(
            f"{seconds} is not a time of a lease: remove the lease folder if no driver runs"
        ) from error
