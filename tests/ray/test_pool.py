from pathlib import Path

import pytest

from rsir_scale.config.settings import Config
from rsir_scale.errors import ConfigError, ResumableError, StorageFullError
from rsir_scale.generation import pool
from rsir_scale.generation.pool import generate_with_ray
from rsir_scale.loop.local import LocalPhases
from rsir_scale.runs import layout
from rsir_scale.runs.commits import missing_shards
from rsir_scale.runs.open_run import HeldRun
from rsir_scale.runs.plan import ShardPlan
from rsir_scale.runs.status import read_status
from rsir_scale.storage.opening import open_store
from tests.generation import fragile
from tests.ray.conftest import Make, finish

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]


class RayGeneration(LocalPhases):
    """Trains in this process, generates on the pool."""

    def generate(self, run: HeldRun, plan: ShardPlan) -> None:
        reported: list[int] = []
        missing = missing_shards(run.store, plan)
        generate_with_ray(run, plan.iteration, missing, lambda shard, counts: reported.append(shard))
        assert set(reported) <= {shard.index for shard in missing}


def _with_actors(settings: Make, actors: int) -> Config:
    return settings(generation={"actors": actors})


CLUSTERED = {"mode": "clustered", "clusters": 6, "nprobe": 2}


@pytest.mark.slow
def test_clusters_made_on_the_cluster_serve_every_actor_and_one_that_dies_changes_nothing(
    settings: Make, tmp_path: Path, order: Path
) -> None:
    here = finish(settings(fidelity=CLUSTERED), tmp_path / "here", LocalPhases())
    (order / "die-once").write_text("/data/part-00001")
    there = settings(fidelity=CLUSTERED, generation={"actors": 2})
    assert finish(there, tmp_path / "there", RayGeneration()) == here
    assert not (order / "die-once").exists()


def test_more_clusters_to_probe_than_there_are_are_refused_before_anything_is_written(
    settings: Make, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"fidelity\.nprobe=7"):
        finish(settings(fidelity=CLUSTERED | {"nprobe": 7}), tmp_path / "wrong", RayGeneration())
    assert not (tmp_path / "wrong" / layout.folder(0)).exists()


@pytest.mark.slow
def test_a_single_actor_commits_what_one_process_commits(settings: Make, local_digest: str, tmp_path: Path) -> None:
    assert finish(_with_actors(settings, 1), tmp_path / "run", RayGeneration()) == local_digest


@pytest.mark.slow
def test_a_full_disk_changes_nothing_in_the_end(settings: Make, local_digest: str, tmp_path: Path, order: Path) -> None:
    config, run_dir = _with_actors(settings, 2), tmp_path / "run"
    (order / "full").write_text("/data/part-")
    with pytest.raises(StorageFullError, match="no room left"):
        finish(config, run_dir, RayGeneration())
    store = open_store(run_dir)
    assert not any(store.exists(layout.commit(0, shard)) for shard in range(7))
    assert not list(store.list("iteration=000/generation/data"))
    (order / "full").unlink()
    assert finish(config, run_dir, RayGeneration()) == local_digest


class Poisoned:
    """Phases of which the generation alone is given a fault."""

    def __init__(self, phases: LocalPhases, order: Path, kind: str) -> None:
        self._phases, self._order, self._kind = phases, order / fragile.FAULT, kind

    def train(self, run: HeldRun, iteration: int) -> None:
        self._phases.train(run, iteration)

    def generate(self, run: HeldRun, plan: ShardPlan) -> None:
        self._order.write_text(f"{self._kind}:{fragile.rarest_first_item(run.dataset.training_sequences())}")
        self._phases.generate(run, plan)
        self._order.unlink()


@pytest.mark.slow
def test_a_user_who_kills_every_process_costs_what_one_costs_who_raises(
    settings: Make, tmp_path: Path, order: Path
) -> None:
    poison = {"model": {"backbone": fragile.NAME, "width": 16}, "run": {"max_error_rate": 0.2}}
    here = finish(settings(**poison), tmp_path / "here", Poisoned(LocalPhases(), order, "raise"))
    there = settings(**poison, generation={"actors": 2})
    assert finish(there, tmp_path / "there", Poisoned(RayGeneration(), order, "kill")) == here
    found = [read_status(open_store(tmp_path / run))["iterations"][0]["errors"] for run in ("here", "there")]
    assert found[0] == found[1] > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_user_whom_the_generator_never_ends_on_costs_what_one_costs_who_raises(
    settings: Make, tmp_path: Path, order: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_STILL_S", 10.0)
    poison = {"model": {"backbone": fragile.NAME, "width": 16}, "run": {"max_error_rate": 0.2, "shard_timeout_s": 10}}
    here = finish(settings(**poison), tmp_path / "here", Poisoned(LocalPhases(), order, "raise"))
    # As many actors as the cluster has processors: a hung one that held its own would leave the next pool too few.
    there = settings(**poison, generation={"actors": 4})
    assert finish(there, tmp_path / "there", Poisoned(RayGeneration(), order, "hang")) == here


@pytest.mark.slow
def test_a_shard_that_always_kills_its_actor_ends_the_run_and_leaves_it_resumable(
    settings: Make, local_digest: str, tmp_path: Path, order: Path
) -> None:
    config, run_dir = _with_actors(settings, 2), tmp_path / "run"
    (order / "die-always").write_text("/data/part-00001")
    with pytest.raises(ResumableError, match="broke off 3 times"):
        finish(config, run_dir, RayGeneration())
    (order / "die-always").unlink()
    assert finish(config, run_dir, RayGeneration()) == local_digest
