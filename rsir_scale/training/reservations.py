"""What broken fits leave reserved on the cluster: placement groups of this driver's job, found and let go.

Ray Train 2.60 keeps the placement group of workers that were started but could not connect, until the job ends: the
next attempt of the same job would wait for CPUs that its predecessor holds and nobody uses.
"""

from collections.abc import Mapping
from typing import Any

import ray
from ray.util import placement_group_table, remove_placement_group
from ray.util.placement_group import PlacementGroup

_REMOVED = "REMOVED"


def reservations() -> frozenset[str]:
    """The placement groups of this job that are there, by id."""
    found: Mapping[str, Mapping[str, Any]] = placement_group_table()
    # An id ends with that of the job.
    job = ray.get_runtime_context().get_job_id()
    return frozenset(name for name, group in found.items() if name.endswith(job) and group["state"] != _REMOVED)


def let_go(before: frozenset[str]) -> None:
    """Remove the placement groups of this job but for those that were there before."""
    for name in reservations() - before:
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(name))))
