"""What a benchmark has to say of the machine and the code it ran on, and the pinning of threads."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from rsir_scale.ranking.compiled import instructions


def pin_threads(threads: int) -> None:
    """Give every library the same number of threads; NumPy's BLAS reads its variable when it is loaded."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        if os.environ.get(name) != str(threads):
            print(f"note: {name} is {os.environ.get(name)}; run with {name}={threads} for a fair NumPy")
    torch.set_num_threads(threads)


def environment() -> dict[str, object]:
    """Return processor, versions and date."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "instructions": list(instructions()),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
    }


def commit() -> str:
    """The hash of the code's commit, with `-dirty` where files differ from it; `unknown` outside a git clone."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip() or "unknown"
