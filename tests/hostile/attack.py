"""How hostile input meets the real command line, and what every refusal keeps to.

A case is data: how its bytes are made, the command, the exit code, and what the message must name. `refused` holds a
command to the promise: that exit code, nothing on stdout, one message that holds the value and a way out, no traceback,
and a folder that holds afterwards what it held before.
"""

import hashlib
import os
import re
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from rsir_scale.cli.main import main

GIB = 1 << 30
# Of addresses, which a process takes more of than memory; it only guards the machine.
_MOST_BYTES = 8 * GIB
# A way out tells what to do: an order somewhere after the fault.
WAY_OUT = re.compile(
    r"\b(name|give|set|check|choose|restore|import|leave|write|use|make|run|raise|lower|put|train|install|rename|look"
    r"|convert|replace|remove|take|renumber|start|split|try|see|quote)\b|Usage|Missing|No such|requires"
)
# Its own peak: what the system reports of a child includes the parent that it was forked from.
_SCRIPT = """
import atexit, re, sys, time
from pathlib import Path
def tell():
    peak = re.search("VmHWM:\\s+([0-9]+) kB", Path("/proc/self/status").read_text())[1]
    Path(sys.argv[1]).write_text(f"{peak} {time.process_time()}")
atexit.register(tell)
from rsir_scale.cli.main import main
main(sys.argv[2:])
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended; `peak_bytes` and `cpu_s` (processor time, all threads) only of a process of its own."""

    code: int
    out: str
    err: str
    peak_bytes: int = 0
    cpu_s: float = 0.0


def call(capfd: pytest.CaptureFixture[str], *arguments: object) -> Ended:
    """Run the command line in this process, and catch also what native code writes."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    out, err = capfd.readouterr()
    return Ended(int(end.value.code or 0), out, err)


def call_apart(folder: Path, *arguments: object, timeout_s: float = 60.0) -> Ended:
    """Run it in a process of its own, which may not take the machine with it, and measure that."""
    taken = folder / "taken"
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, taken, *map(str, arguments)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=timeout_s,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES)),
    )
    peak_kb, cpu_s = taken.read_text().split()
    taken.unlink()
    return Ended(done.returncode, done.stdout, done.stderr, int(peak_kb) * 1024, float(cpu_s))


def held(folder: Path) -> dict[str, str]:
    """What a folder holds: each name below it, with the bytes, or where the link points."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(folder))] = f"→ {os.readlink(path)}"
        elif path.is_file():
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[str(path.relative_to(folder))] = "folder"
    return found


def assert_refused(ended: Ended, code: int, named: tuple[str, ...]) -> None:
    """Hold the end of a command to what is promised of a refusal."""
    assert "Traceback" not in ended.err, ended.err[-3000:]
    assert "panicked" not in ended.err, ended.err[-3000:]
    assert ended.code == code, (ended.code, ended.err[-3000:])
    assert ended.out == ""
    for text in named:
        assert text in ended.err, f"{text!r} is not named: {ended.err[:3000]}"
    assert len(re.findall(r"^rsir: |^Error|^╭─ Error", ended.err, re.MULTILINE)) == 1, ended.err[:3000]
    assert len(ended.err) < 4000, f"{len(ended.err)} characters: {ended.err[:1000]}"
    assert WAY_OUT.search(ended.err), f"no way out: {ended.err[:3000]}"
