"""Settings that hold for every test, made before any numeric library is imported."""

import os
import shutil
import tempfile
from multiprocessing.util import Finalize

# Several processes with a thread for each core starve one another on small machines; one thread also fixes the order of
# floating-point sums, on which digests rest.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Ray's workers are nice by 15: beside another process of tests they would have next to nothing of a processor.
os.environ.setdefault("RAY_worker_niceness", "0")

import pytest
from hypothesis import HealthCheck, settings

# A shared machine stalls now and then: a slow example is no fault, and the same examples are tried on every run.
settings.register_profile("default", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", deadline=None, max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

pytest_plugins = ["devtools.s3_fixtures", "tests.ray.cluster"]


def pytest_configure() -> None:
    """Delete the temporary folders of this process when it ends; `tmp_path`, which pytest keeps for a while, aside."""
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    tempfile.tempdir = tempfile.mkdtemp(prefix="rsir-tests-")
    # After multiprocessing has deleted its own, which lies in it (-100).
    Finalize(None, shutil.rmtree, (tempfile.tempdir,), {"ignore_errors": True}, exitpriority=-200)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one process have all tests that start Ray: they share a cluster, and wait more than they compute."""
    for item in items:
        if item.get_closest_marker("ray"):
            item.add_marker(pytest.mark.xdist_group("ray"))
