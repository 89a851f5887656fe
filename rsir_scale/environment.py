"""What must hold for the installed packages before any command starts, and what Ray is told before it is imported.

Comes in: the metadata of the current environment. Goes out: nothing, or an error that says what to uninstall. It
imports none of the packages it looks at: the builds of FAISS share one module name, so whichever was installed last has
overwritten files of the other, and an import would tell nothing.
"""

import os
from importlib.metadata import PackageNotFoundError, version

from rsir_scale.errors import ConfigError

FAISS_PACKAGES = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs")

# Read by Ray in this process and in those it starts; what a user set stays.
_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    # Starting workers took minutes on a machine that was busy otherwise.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "900",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "OMP_WAIT_POLICY": "passive",
}


def settle_ray() -> None:
    """Set what Ray reads of the environment; some of it when it is imported, so that it has to be told before."""
    for name, value in _RAY.items():
        os.environ.setdefault(name, value)


def check_faiss_packages() -> None:
    """Refuse an environment in which two builds of FAISS overwrite each other.

    Raises:
        ConfigError: more than one of `FAISS_PACKAGES` is installed.
    """
    installed = {name: found for name in FAISS_PACKAGES if (found := installed_version(name)) is not None}
    if len(installed) > 1:
        listed = ", ".join(f"{name} {found}" for name, found in installed.items())
        raise ConfigError(
            f"{listed} are installed together, but they hold the same module `faiss`, and at most one may be present: "
            f"run `pip uninstall {' '.join(installed)}`, then install rsir-scale[cpu] or rsir-scale[gpu]"
        )


def installed_version(package: str) -> str | None:
    """The version of a package as its metadata have it; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
