"""One Ray cluster for all tests that need one, whose workers can be told to fail."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# `faults` imports Ray: only the process that has the tests with Ray pays for that.


@pytest.fixture(scope="session")
def fault_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a test writes what workers shall do; see `faults`."""
    from tests.ray import faults

    folder = tmp_path_factory.mktemp("faults")
    os.environ[faults.FOLDER] = str(folder)
    return folder


@pytest.fixture(scope="session")
def cluster(fault_folder: Path) -> Iterator[str]:
    """Four logical CPUs, started once; gives the address."""
    import ray

    from tests.ray import faults

    ray.cloudpickle.register_pickle_by_value(faults)
    context = ray.init(
        address="local",
        num_cpus=4,
        object_store_memory=256 << 20,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"worker_process_setup_hook": faults.install},
    )
    yield context.address_info["gcs_address"]
    ray.shutdown()
