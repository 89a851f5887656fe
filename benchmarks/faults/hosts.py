"""Hosts on one machine that share no disk, no process and no memory, only a wire: Linux namespaces behind a bridge.

Comes in: how many. Goes out: `Host`s, each with an address of its own, a name, and a private `/tmp`, where its home is,
and `/dev/shm`; every disk of the machine can be read in a host, for the code, and written in none. All that runs in a
host can be killed at once, its link can be cut, as by a pulled cable, and it can be turned off. What runs there is left
to others. All of it lies in a network of this process's own (`in_own_network`), so addresses and names meet nothing of
the machine's, no firewall has a say, and nothing is left once the process has ended, however it ends: a host lives as
long as a pipe from here is open.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

NETWORK = "10.77.0"
OUTSIDE = f"{NETWORK}.254"
HOME = "/tmp/home"
_PREFIX = "rsir"
_BRIDGE = f"{_PREFIX}-wire"
_INSIDE = "RSIR_IN_OWN_NETWORK"
_PROGRAMS = ("ip", "unshare", "nsenter", "mount")
_READ_ONLY = """
awk '$3 !~ /^(proc|sysfs|cgroup2?|devtmpfs|devpts|mqueue)$/ {print $2}' /proc/self/mounts |
    while read -r place; do mount -o remount,bind,ro "$place" 2>/dev/null || true; done
""".strip()
_FIRST = "import signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); sys.stdin.read()"
_NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid")


def name_of(number: int) -> str:
    """The name of a host, which is also that of its end of the wire."""
    return f"{_PREFIX}{number}"


def address_of(number: int) -> str:
    """The address of a host."""
    if not 0 <= number < 200:
        raise ValueError(f"host {number}: there is room for hosts 0 to 199")
    return f"{NETWORK}.{number + 1}"


def in_own_network() -> None:
    """Begin this program again in a network of its own, once; ends it with a message where that cannot be."""
    absent = [program for program in _PROGRAMS if shutil.which(program) is None]
    if os.geteuid() or absent:
        why = f"{', '.join(absent)} is not there" if absent else "this is not root"
        sys.exit(f"hosts are Linux namespaces, which take root, iproute2 and util-linux, and {why}")
    if os.environ.get(_INSIDE) != "1":
        os.environ[_INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.orig_argv[1:]])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    _ip("link", "set", "lo", "up")


def boot_script(kept: Sequence[Path]) -> str:
    """What a host does first: cover what it shall not share, and make all else read-only.

    Args:
        kept: folders that are seen under the same path, though they may lie below a covered one.
    """
    lines = ["mount --make-rprivate /"]
    for number, folder in enumerate(kept, start=3):
        lines.append(f"exec {number}<'{folder}'")
    lines += [
        _READ_ONLY,
        *(f"mount -t tmpfs -o mode=1777 private {folder}" for folder in ("/tmp", "/var/tmp", "/dev/shm")),
    ]
    for number, folder in enumerate(kept, start=3):
        lines.append(f"mkdir -p '{folder}' 2>/dev/null || true")
        lines.append(f"mount --no-canonicalize --bind /proc/self/fd/{number} '{folder}'")
        lines.append(f"mount -o remount,bind,ro '{folder}'; exec {number}<&-")
    # The first process ends with its input, and all others of its namespace with it. It ignores how children end, so
    # that the kernel buries the orphans it inherits.
    lines += [f"mkdir -p {HOME}", 'hostname "$1"', "echo ready", f"exec '{sys.executable}' -c '{_FIRST}'"]
    return "\n".join(lines)


@dataclass
class Host:
    """A host that is up; made by `Wire.boot`."""

    number: int
    _shell: "subprocess.Popen[str]"

    @property
    def name(self) -> str:
        """Its name."""
        return name_of(self.number)

    @property
    def address(self) -> str:
        """Its address."""
        return address_of(self.number)

    def popen(self, command: Sequence[str], environment: dict[str, str], **options: object) -> "subprocess.Popen[str]":
        """Begin a command here; the environment is all that it has."""
        enter = ["nsenter", "--target", str(self._first().pid), *_NAMESPACES, "--", *command]
        known = {"HOME": HOME, "PATH": os.environ["PATH"]}
        return subprocess.Popen(enter, env=known | environment, text=True, **options)  # type: ignore[call-overload,no-any-return]

    def run(self, command: Sequence[str], environment: dict[str, str], *, send: str = "") -> str:
        """Run a command here to its end; returns what it said."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with self.popen(command, environment, **pipes) as process:
            told, _ = process.communicate(send)
        if process.returncode:
            raise RuntimeError(f"{self.name}: {' '.join(command)} ended with {process.returncode}: {told}")
        return str(told)

    def write(self, path: str, text: str) -> None:
        """Put a file on this host's own disk, for its owner only."""
        self.run(["sh", "-c", f'umask 077; mkdir -p "$(dirname {path})"; cat > {path}'], {}, send=text)

    def processes(self) -> list[psutil.Process]:
        """All that runs here, but for what `popen` began and has not let go of."""
        try:
            return self._first().children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> None:
        """Kill every process here; the host itself stays up, and answers that nobody listens."""
        enter = ["nsenter", "--target", str(self._first().pid), *_NAMESPACES, "--", "sh", "-c", "kill -9 -1"]
        subprocess.run(enter, check=True)

    def off(self) -> None:
        """Turn it off; it does not come back, but another may be booted in its place."""
        self._shell.kill()
        self._shell.communicate()

    def cut(self) -> None:
        """Pull the cable: whatever runs here runs on, and nothing comes in or goes out."""
        _ip("link", "set", self.name, "down")

    def mend(self) -> None:
        """Plug the cable in again."""
        _ip("link", "set", self.name, "up")

    def _first(self) -> psutil.Process:
        return psutil.Process(self._shell.pid).children()[0]


class Wire:
    """What hosts are plugged into; `OUTSIDE` is this process's address on it."""

    def __init__(self, kept: Sequence[Path], cleanup: ExitStack) -> None:
        self._kept = kept
        self._cleanup = cleanup
        _ip("link", "add", _BRIDGE, "type", "bridge", "forward_delay", "0")
        cleanup.callback(_ip, "link", "del", _BRIDGE)
        _ip("addr", "add", f"{OUTSIDE}/24", "dev", _BRIDGE)
        _ip("link", "set", _BRIDGE, "up")

    def boot(self, number: int) -> Host:
        """Boot a host; where one of that number was turned off, in its place."""
        script = ["sh", "-ec", boot_script(self._kept), "boot", name_of(number)]
        shell = subprocess.Popen(
            ["unshare", *_NAMESPACES, "--fork", "--kill-child", "--mount-proc", *script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        host = Host(number, shell)
        self._cleanup.callback(host.off)
        assert shell.stdout is not None  # noqa: S101
        if shell.stdout.readline() != "ready\n":
            raise RuntimeError(f"{host.name} did not boot")
        self._plug(host, shell.pid)
        return host

    def _plug(self, host: Host, pid: int) -> None:
        # The end of a host that was turned off goes with its namespace, which may take a moment.
        subprocess.run(["ip", "link", "del", host.name], capture_output=True, check=False)
        _ip("link", "add", host.name, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        _ip("link", "set", host.name, "master", _BRIDGE, "up")
        for command in (
            ["link", "set", "lo", "up"],
            ["addr", "add", f"{host.address}/24", "dev", "eth0"],
            ["link", "set", "eth0", "up"],
            ["route", "add", "default", "via", OUTSIDE],
        ):
            host.run(["ip", *command], {})


@contextmanager
def wire(kept: Sequence[Path]) -> Iterator[Wire]:
    """A wire without hosts; call `in_own_network` before. Afterwards all hosts are gone.

    Args:
        kept: folders of code that hosts must see, wherever they lie; read-only there.
    """
    with ExitStack() as cleanup:
        yield Wire(kept, cleanup)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
