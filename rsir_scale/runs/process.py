"""Who a process is, so that another one can tell later whether it still lives.

A process id alone is reused; with the start time and the boot id it is not. Host names are not unique (every second
container is called the same), so a host is its name and its machine id; and from another process namespace an id means
nothing, so the namespace is part of the identity. Nothing here writes or ends a process.
"""

import os
import socket
from pathlib import Path

import psutil

from rsir_scale.runs.records import Record

_PROC = Path("/proc")


class Process(Record):
    """A process of some host; empty strings where the system does not tell."""

    host: str
    machine: str
    boot_id: str
    namespace: str
    pid: int
    started: float

    def alive_seen_from(self, observer: "Process") -> bool | None:
        """Whether it lives, as far as `observer` (this process) can know: None for another host or namespace."""
        if (self.host, self.machine) != (observer.host, observer.machine):
            return None
        if self.boot_id != observer.boot_id:
            # Without a machine id it may be another host of the same name.
            return False if self.machine else None
        if self.namespace != observer.namespace:
            return None
        return _lives(self.pid, self.started)


def this_process() -> Process:
    """The identity of the calling process."""
    pid = os.getpid()
    return Process(
        host=socket.gethostname(),
        machine=_first_text(Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id")),
        boot_id=_first_text(_PROC / "sys/kernel/random/boot_id") or str(psutil.boot_time()),
        namespace=_namespace(),
        pid=pid,
        started=_start_time(psutil.Process(pid)),
    )


def _lives(pid: int, started: float) -> bool | None:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and _start_time(process) == started
    except psutil.NoSuchProcess:
        # A system may hide other users' processes, but it does not deny that the id is in use.
        return None if psutil.pid_exists(pid) else False
    except psutil.AccessDenied:
        return None


def _start_time(process: psutil.Process) -> float:
    """Clock ticks since boot on Linux, where setting the clock cannot move it; seconds since 1970 elsewhere."""
    stat = _first_text(_PROC / str(process.pid) / "stat")
    if not stat:
        return process.create_time()
    # The command's name stands in parentheses and may hold anything; field 22 is the 20th after it.
    return float(stat.rpartition(")")[2].split()[19])


def _namespace() -> str:
    try:
        return str((_PROC / "self/ns/pid").readlink())
    except OSError:
        return ""


def _first_text(*paths: Path) -> str:
    for path in paths:
        try:
            return path.read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            continue
    return ""
