"""The process group of Ray Train workers, on the network that Ray itself uses.

Comes in: a backend, gloo or nccl. Goes out: a `TorchConfig` for the trainer. Gloo listens where the host's own name
leads, which is loopback on many hosts (Debian writes 127.0.1.1 in /etc/hosts, others know no address at all): workers
of two hosts would then look for each other at home. Ray knows under which address a host is reached; gloo is told the
interface that has it. A GLOO_SOCKET_IFNAME that is set stays.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Any

import psutil
import ray.util
from ray.train.torch import TorchConfig

GLOO_INTERFACE = "GLOO_SOCKET_IFNAME"


def interface_of(address: str, addresses: Mapping[str, Iterable[str]]) -> str | None:
    """The interface that has this address, None where none has; `addresses` are those of each interface."""
    return next((name for name, own in addresses.items() if address in own), None)


def settle_interface() -> None:
    """Have gloo use the interface of this process's node, unless the environment names one."""
    if os.environ.get(GLOO_INTERFACE):
        return
    addresses = {name: [own.address for own in found] for name, found in psutil.net_if_addrs().items()}
    address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    interface = interface_of(address, addresses)
    if interface is not None:
        os.environ[GLOO_INTERFACE] = interface


class NodeTorchConfig(TorchConfig):
    """Ray Train's own, but for the interface."""

    @property
    def backend_cls(self) -> type[Any]:
        """What sets the workers up."""
        return _NodeBackend


_Backend: type[Any] = TorchConfig().backend_cls


class _NodeBackend(_Backend):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        worker_group.execute(settle_interface)
        super().on_start(worker_group, backend_config)
