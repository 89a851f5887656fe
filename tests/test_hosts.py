"""The plan of hosts that `benchmarks.faults.hosts` makes of namespaces; making them takes root."""

import importlib
import os
import subprocess
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return importlib.import_module("hosts")


def test_every_host_has_an_address_and_a_name_of_its_own_which_no_other_and_not_the_outside_has(
    hosts: ModuleType,
) -> None:
    addresses = [hosts.address_of(number) for number in range(200)]
    assert len({*addresses, hosts.OUTSIDE}) == 201
    assert len({hosts.name_of(number) for number in range(200)}) == 200
    with pytest.raises(ValueError, match="host 200"):
        hosts.address_of(200)


def test_what_a_host_does_first_is_a_script_that_a_shell_can_read(hosts: ModuleType) -> None:
    script = hosts.boot_script([Path("/some where/code"), Path("/opt/python")])
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)


def test_code_below_a_covered_folder_is_opened_before_and_mounted_after(hosts: ModuleType) -> None:
    lines = hosts.boot_script([Path("/tmp/code")]).splitlines()
    opened, covered, mounted = (
        next(number for number, line in enumerate(lines) if line.startswith(start))
        for start in ("exec 3<'/tmp/code'", "mount -t tmpfs -o mode=1777 private /tmp", "mount --no-canonicalize")
    )
    assert opened < covered < mounted


def test_who_is_not_root_is_told_so_before_anything_is_made(hosts: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(hosts.shutil, "which", lambda program: f"/usr/bin/{program}")
    with pytest.raises(SystemExit, match="this is not root"):
        hosts.in_own_network()


def test_a_program_that_is_absent_is_named(hosts: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(hosts.shutil, "which", lambda program: None if program == "nsenter" else program)
    with pytest.raises(SystemExit, match="nsenter is not there"):
        hosts.in_own_network()
