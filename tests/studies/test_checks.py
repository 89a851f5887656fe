from typing import Any

import pytest

from rsir_scale.errors import ConfigError, InputError
from rsir_scale.loop.preflight import Node
from rsir_scale.studies import checks
from rsir_scale.studies.checks import check_study
from tests.studies.world import ARMS, raw_study, study_file

NODES = (Node(cpus=2, gpus=0), Node(cpus=4, gpus=0))


def _training(**settings: Any) -> dict[str, Any]:
    """The base config with more settings of that section."""
    base = raw_study()["base"]
    return {**base, "training": {**base["training"], **settings}}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an arm that is another one": ({"arms": {**ARMS, "again": {}}}, "arms.again sets nothing that rsir does not"),
    "an arm that is the base": ({"arms": {**ARMS, "none": {"loop.iterations": 0}}}, "arms.none .* base does not"),
    "every item in the list": ({"cutoffs": [30], "metric": "NDCG@30"}, "best 30 of the 30"),
    "more CPUs than a node has": ({"cell": {"cpus": 5}}, r"cell\.cpus=5.*no node has more than 4"),
    "GPUs for a process": ({"cell": {"gpus": 1}}, r"cell\.gpus=1.*0 GPUs"),
    "more memory than a node has": ({"cell": {"memory_gib": 9}}, r"memory_gib=9.*8\.0 GiB"),
    "a GPU in the base": ({"base": _training(use_gpu=True)}, r"training\.use_gpu.*cell\.where=ray"),
    "workers in a process": ({"base": _training(workers=2)}, r"training\.workers=2.*cell\.where=ray"),
}


@pytest.mark.parametrize(("changes", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_compared_here_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_study(study_file(**changes), NODES, memory_bytes=8 << 30)


def test_a_sound_study_is_let_pass() -> None:
    check_study(study_file(cell={"cpus": 4, "memory_gib": 8}), NODES, memory_bytes=8 << 30)


def test_two_passes_more_make_an_arm_of_its_own_even_without_generation() -> None:
    arms = {**ARMS, "more": {"loop.iterations": 0, "training.max_epochs": 4}}
    check_study(study_file(arms=arms), NODES)


def test_a_dataset_with_too_few_users_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "LEAST_USERS", 1000)
    with pytest.raises(InputError, match="59 users with a test item, and an interval over users needs 1000"):
        check_study(study_file(), NODES)


def test_more_workers_than_a_cluster_places_are_refused_where_cells_go_to_ray() -> None:
    with pytest.raises(ConfigError, match=r"training\.workers"):
        check_study(study_file(base=_training(workers=50), cell={"where": "ray"}), NODES)
