import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.augmenters.rsir import searching
from rsir_scale.config.file import resolve
from rsir_scale.config.settings import Config
from rsir_scale.errors import ConfigError
from rsir_scale.loop.preflight import Node, check, check_settings, local_nodes
from rsir_scale.ranking.compiled import instructions
from tests.loop.tiny_run import tiny_run


def _config(**sections: dict[str, object]) -> Config:
    return resolve({"data": {"path": "data"}, **sections})


@given(st.integers(1, 12), st.lists(st.integers(0, 6), min_size=1, max_size=3))
def test_as_many_actors_as_there_are_cpus_pass_and_no_more(actors: int, cpus: list[int]) -> None:
    nodes = [Node(cpus=count, gpus=0) for count in [*cpus, 1]]
    config = _config(generation={"actors": actors})
    if actors <= sum(cpus) + 1:
        check(config, nodes)
        return
    with pytest.raises(ConfigError, match=rf"generation.actors={actors} .* set generation.actors to {sum(cpus) + 1}"):
        check(config, nodes)


def test_a_worker_is_placed_whole_on_one_node() -> None:
    config = _config(training={"workers": 2, "threads": 3})
    check(config, [Node(cpus=6, gpus=0)])
    check(config, [Node(cpus=4, gpus=0), Node(cpus=3, gpus=0)])
    with pytest.raises(ConfigError, match=r"training.workers=2 with 3 CPUs each .* to 1 or less"):
        check(config, [Node(cpus=4, gpus=0), Node(cpus=2, gpus=0)])
    with pytest.raises(ConfigError, match=r"training\.threads lower"):
        check(config, [Node(cpus=2, gpus=0), Node(cpus=2, gpus=0)])


def test_a_search_that_is_not_installed_is_refused_before_anything_is_trained(monkeypatch) -> None:
    tiny = tiny_run()

    def settings(**fidelity: object) -> Config:
        return tiny.config.model_copy(update={"fidelity": tiny.config.fidelity.model_copy(update=fidelity)})

    check_settings(settings(mode="clustered", scan="compiled" if instructions() else "auto"), tiny.dataset)
    monkeypatch.setitem(sys.modules, "faiss", None)
    check_settings(settings(mode="clustered"), tiny.dataset)
    with pytest.raises(ConfigError, match=r"scan=faiss, but FAISS is not installed .* or leave fidelity\.scan out"):
        check_settings(settings(mode="clustered", scan="faiss"), tiny.dataset)
    monkeypatch.setattr(searching, "instructions", lambda: ())
    with pytest.raises(ConfigError, match=r"fidelity\.scan=compiled, but .* not built here: install a C"):
        check_settings(settings(mode="exact", scan="compiled"), tiny.dataset)


@pytest.mark.parametrize("phase", ["training", "generation"])
def test_a_gpu_that_is_asked_for_and_absent_is_an_error_and_no_fallback(phase: str) -> None:
    config = _config(**{phase: {"use_gpu": True}})
    with pytest.raises(ConfigError, match=f"{phase}.use_gpu=true, but no GPU is there"):
        check(config, [Node(cpus=64, gpus=0)])
    check(config, [Node(cpus=1, gpus=1)])


def test_phases_take_turns_so_each_may_use_everything() -> None:
    check(_config(training={"workers": 4}, generation={"actors": 4}), [Node(cpus=4, gpus=0)])


def test_the_machine_of_our_own_cluster_places_two_actors_however_small_it_is() -> None:
    (node,) = local_nodes(_config())
    assert node.cpus >= 4
    check(_config(generation={"actors": 2}), [node])
