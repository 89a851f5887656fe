import os

import psutil
import pytest
import ray.util

from rsir_scale.training.network import GLOO_INTERFACE, interface_of, settle_interface

ADDRESSES = {"lo": ["127.0.0.1", "::1"], "eth0": ["10.0.0.7", "fe80::1"], "eth1": ["10.1.0.7"]}


@pytest.mark.parametrize(
    ("address", "interface"), [("10.1.0.7", "eth1"), ("127.0.0.1", "lo"), ("fe80::1", "eth0"), ("192.0.2.1", None)]
)
def test_the_interface_is_the_one_that_has_the_address(address: str, interface: str | None) -> None:
    assert interface_of(address, ADDRESSES) == interface


def test_gloo_is_told_the_interface_of_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    name, own = next((name, own) for name, own in psutil.net_if_addrs().items() if own)
    monkeypatch.setenv(GLOO_INTERFACE, "")
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: own[0].address)
    settle_interface()
    assert os.environ[GLOO_INTERFACE] == name


def test_an_interface_that_the_user_names_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(GLOO_INTERFACE, "eth7")
    settle_interface()
    assert os.environ[GLOO_INTERFACE] == "eth7"


def test_gloo_is_told_nothing_where_no_interface_has_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(GLOO_INTERFACE, "")
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "192.0.2.1")
    settle_interface()
    assert not os.environ[GLOO_INTERFACE]
