"""Which processor this process computes on, in one line for the records of a run.

Comes in: what the system tells. Goes out: the processor's name, the widest vector instructions that it has, and the
variables that make libraries use fewer. Sums of floats differ in their last bits between these, so parts name theirs;
what the compiled kernels chose stands beside it, in `encoder` and `search`.
"""

import os
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
# As Linux lists them, widest first, and as they are called here.
_INSTRUCTIONS = {"amx_tile": "amx", "avx512f": "avx512", "avx2": "avx2", "sve": "sve", "asimd": "neon"}
_LIMITS = ("ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA", "OPENBLAS_CORETYPE")


@cache
def processor_name() -> str:
    """Name this machine's processor, such as `AMD EPYC 7763 64-Core Processor, avx2`."""
    told = _CPUINFO.read_text(errors="replace") if _CPUINFO.exists() else ""
    return describe(told, os.environ, otherwise=platform.processor() or platform.machine())


def describe(cpuinfo: str, environment: Mapping[str, str], *, otherwise: str) -> str:
    """Name a processor.

    Args:
        cpuinfo: the text of /proc/cpuinfo; empty where there is none.
        environment: of the process; only variables that limit instructions are read.
        otherwise: the name where `cpuinfo` has none, as on ARM and outside Linux.
    """
    pairs = (line.partition(":") for line in cpuinfo.splitlines())
    facts = {key.strip().lower(): value.strip() for key, _, value in pairs}
    flags = {*facts.get("flags", "").split(), *facts.get("features", "").split()}
    widest = next((name for flag, name in _INSTRUCTIONS.items() if flag in flags), None)
    limits = [f"{name}={environment[name]}" for name in _LIMITS if environment.get(name)]
    return ", ".join([facts.get("model name") or otherwise, *([widest] if widest else []), *limits])
