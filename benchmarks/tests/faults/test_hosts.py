"""The plan of hosts that `benchmarks.faults.hosts` makes of namespaces; making them takes root."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.faults import hosts


def test_every_host_has_an_address_and_a_name_of_its_own_which_no_other_and_not_the_outside_has() -> None:
    addresses = [hosts.address_of(number) for number in range(200)]
    assert len({*addresses, hosts.OUTSIDE}) == 201
    assert len({hosts.name_of(number) for number in range(200)}) == 200
    with pytest.raises(ValueError, match="host 200"):
        hosts.address_of(200)


def test_what_a_host_does_first_is_a_script_that_a_shell_can_read() -> None:
    script = hosts.boot_script([Path("/some where/code"), Path("/opt/python")])
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)


def test_code_below_a_covered_folder_is_opened_before_and_mounted_after() -> None:
    lines = hosts.boot_script([Path("/tmp/code")]).splitlines()
    opened, covered, mounted = (
        next(number for number, line in enumerate(lines) if line.startswith(start))
        for start in ("exec 3<'/tmp/code'", "mount -t tmpfs -o mode=1777 private /tmp", "mount --no-canonicalize")
    )
    assert opened < covered < mounted


def test_who_is_not_root_is_told_so_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda program: f"/usr/bin/{program}")
    with pytest.raises(SystemExit, match="this is not root"):
        hosts.in_own_network()


def test_a_program_that_is_absent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda program: None if program == "nsenter" else program)
    with pytest.raises(SystemExit, match="nsenter is not there"):
        hosts.in_own_network()


def test_the_same_module_begins_again_in_a_network_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[list[str]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda program: program)
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "benchmarks.faults.three_hosts", "--json", "a.json"])

    def begin(program: str, words: list[str]) -> None:
        begun.append(words)
        raise SystemExit

    monkeypatch.setattr(os, "execvp", begin)
    with pytest.raises(SystemExit):
        hosts.in_own_network()
    words = ["-m", "benchmarks.faults.three_hosts", "--json", "a.json"]
    assert begun == [["unshare", "--net", sys.executable, *words]]
