"""A Ray cluster over hosts of `hosts.py`: one token on all of them, a raylet on each, and what runs where.

Comes in: a wire and the environment that all hosts share. Goes out: a `HostCluster` on whose first host, the head, a
driver may be started. A host that was lost can be brought back, or left away. Whether a Train worker or an actor of
generation is on a host is read from its processes, not from what Ray believes.
"""

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.faults.hosts import Host, Wire, address_of
from benchmarks.faults.soak_memory import kinds_of

_PORT = 6379
_RAY = [sys.executable, "-m", "ray.scripts.scripts"]
_OBJECT_STORE_BYTES = 80_000_000
_TOKEN = "~/.ray/auth_token"
_START_S = 120.0


class HostCluster:
    """Hosts with a raylet each.

    Args:
        wire: what they are plugged into.
        cpus: Ray's CPUs of each host, the head first.
        environment: of every process on every host.
    """

    def __init__(self, wire: Wire, cpus: Sequence[int], environment: dict[str, str]) -> None:
        self._wire = wire
        self._cpus = cpus
        self.environment = environment | {"RAY_AUTH_MODE": "token"}
        self._token = ""
        self.hosts: dict[int, Host] = {}
        self.bring(0)
        with ThreadPoolExecutor() as together:
            list(together.map(self.bring, range(1, len(cpus))))

    @property
    def address(self) -> str:
        """For RAY_ADDRESS."""
        return f"{address_of(0)}:{_PORT}"

    @property
    def head(self) -> Host:
        """Where the driver is."""
        return self.hosts[0]

    def bring(self, number: int) -> None:
        """Boot a host and have it join; the first one makes the token and the cluster."""
        host = self.hosts[number] = self._wire.boot(number)
        if number == 0:
            host.run([*_RAY, "get-auth-token", "--generate"], self.environment)
            self._token = host.run(["sh", "-c", f"cat {_TOKEN}"], {})
            role = ["--head", f"--port={_PORT}", "--include-dashboard=false"]
        else:
            host.write(_TOKEN, self._token)
            role = [f"--address={self.address}"]
        role += [f"--node-ip-address={host.address}", f"--num-cpus={self._cpus[number]}", "--disable-usage-stats"]
        self._start(host, [*_RAY, "start", *role, f"--object-store-memory={_OBJECT_STORE_BYTES}"])

    def _start(self, host: Host, command: list[str]) -> None:
        deadline = time.monotonic() + _START_S
        while True:
            try:
                host.run(command, self.environment)
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(2)
            else:
                return

    def lose(self, number: int) -> Host:
        """Strike a host from those that are there; how it goes is the caller's."""
        return self.hosts.pop(number)

    def holders(self, kind: str) -> list[int]:
        """The hosts that have a process of this kind of `soak_memory` at this moment."""
        return [
            number
            for number, host in self.hosts.items()
            if any(found == kind for found, _ in kinds_of(host.processes(), driver=0))
        ]


def code_folders() -> list[Path]:
    """What a host must see to run the project: this clone, the environment and the interpreter."""
    return [Path(__file__).resolve().parents[2], Path(sys.prefix), Path(sys.base_prefix)]
