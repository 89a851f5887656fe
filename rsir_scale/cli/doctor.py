"""`rsir doctor`: what this machine has, what is missing, and what to do about it.

Comes in: the environment. Goes out: one finding each, as a table or as JSON, and exit code 2 where a run could not work
here. torch and Ray are loaded in processes of their own, since a damaged one may end the process that loads it; GPUs
are those that torch sees.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import psutil
import typer

from rsir_scale import __version__
from rsir_scale.cli.tables import show, show_rows
from rsir_scale.cli.version import KERNELS, all_instructions
from rsir_scale.environment import FAISS_PACKAGES, check_faiss_packages, installed_version
from rsir_scale.errors import ConfigError

OK, SLOWER, BROKEN = "ok", "slower", "broken"
State = Literal["ok", "slower", "broken"]
_GIB = 1 << 30
_LEAST_GIB = 4.0  # below that Ray's own processes leave a run little
_LOADING_S = 300.0
_TORCH = (
    "import json, torch; n = torch.cuda.device_count(); "
    "print(json.dumps([torch.__version__, [torch.cuda.get_device_name(i) for i in range(n)]]))"
)
_RAY = "import json, ray; print(json.dumps([ray.__version__]))"
_AGAIN = "run `pip install --force-reinstall rsir-scale` in a fresh environment"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `advice` is empty where there is nothing to do."""

    what: str
    found: str
    state: State = "ok"
    advice: str = ""


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False) -> None:
    """Say what is installed here, and what is missing."""
    found = list(findings())
    broken = any(finding.state == BROKEN for finding in found)
    if as_json:
        show({"ok": not broken, "findings": [asdict(finding) for finding in found]}, as_json=True)
    else:
        show_rows("", [{"what": each.what, "found": each.found, "state": each.state} for each in found])
        for finding in found:
            if finding.advice:
                typer.echo(f"{finding.what}: {finding.advice}")
    if broken:
        raise typer.Exit(ConfigError.exit_code)


def findings() -> Iterator[Finding]:
    """Look at everything, in the order in which a person would mend it."""
    yield Finding("rsir-scale", __version__)
    yield Finding("python", platform.python_version())
    yield from _torch(loaded(_TORCH))
    yield _ray(loaded(_RAY))
    yield _faiss()
    for work, kernel in KERNELS.items():
        yield _kernel(work, all_instructions(*kernel))
    yield Finding("cpus", str(len(os.sched_getaffinity(0))))
    yield _memory(psutil.virtual_memory().available / _GIB, psutil.virtual_memory().total / _GIB)
    yield _disk("disk here", Path.cwd())
    yield _disk("disk of temporary files", Path(tempfile.gettempdir()))


def loaded(script: str) -> tuple[bool, str]:
    """Run a script in a process of its own: whether it ended well, and what it said last."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=_LOADING_S
        )
    except subprocess.TimeoutExpired:
        return False, f"did not load within {_LOADING_S:.0f} s"
    said = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    return done.returncode == 0, said[-1] if said else f"ended with code {done.returncode}"


def _torch(answer: tuple[bool, str]) -> Iterator[Finding]:
    worked, said = answer
    if not worked:
        yield Finding("torch", said, "broken", _AGAIN)
        return
    version, gpus = json.loads(said)
    yield Finding("torch", version)
    yield Finding("gpus", ", ".join(gpus) or "none: everything runs on the CPU")


def _ray(answer: tuple[bool, str]) -> Finding:
    worked, said = answer
    return Finding("ray", json.loads(said)[0]) if worked else Finding("ray", said, "broken", _AGAIN)


def _faiss() -> Finding:
    found = ", ".join(f"{name} {version}" for name in FAISS_PACKAGES if (version := installed_version(name)))
    try:
        check_faiss_packages()
    except ConfigError as error:
        return Finding("faiss", found, "broken", str(error))
    return Finding("faiss", found) if found else Finding("faiss", "not installed: scikit-learn clusters items instead")


def _kernel(work: str, instructions: tuple[str, ...]) -> Finding:
    name = f"compiled {work}"
    if instructions:
        return Finding(name, ", ".join(instructions))
    return Finding(
        name,
        "not built: torch does its work",
        "slower",
        "install a C++ compiler, then run `pip install --force-reinstall --no-deps rsir-scale`",
    )


def _memory(available: float, total: float) -> Finding:
    found = f"{available:.1f} of {total:.1f} GiB available"
    if available >= _LEAST_GIB:
        return Finding("memory", found)
    return Finding("memory", found, "slower", f"free some: a run wants {_LEAST_GIB:.0f} GiB or more beside its data")


def _disk(what: str, path: Path) -> Finding:
    usage = shutil.disk_usage(path)
    found = f"{usage.free / _GIB:.1f} of {usage.total / _GIB:.1f} GiB free at {path}"
    if usage.free >= _GIB:
        return Finding(what, found)
    return Finding(what, found, "slower", "free some: a run stops, resumable, where the disk is full")
