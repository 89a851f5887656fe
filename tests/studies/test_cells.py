import pytest

from rsir_scale.errors import ConfigError
from rsir_scale.studies.cells import base_settings, cells_of, config_of
from rsir_scale.studies.controls import AA_SEED
from tests.studies.world import ARMS, study_file


def test_each_seed_has_a_base_and_each_arm_a_longer_training_of_its_own() -> None:
    cells = cells_of(study_file(), (4,))
    names = ["base", "rsir", "shuffled", "aa", "longer-of-rsir", "longer-of-shuffled"]
    assert [cell.key for cell in cells] == [f"cells/market/4/{name}" for name in names]
    assert [cell.of for cell in cells][-2:] == ["rsir", "shuffled"]


def test_seeds_come_one_after_another_so_that_pairs_are_whole_early() -> None:
    assert [cell.seed for cell in cells_of(study_file(), (7, 3))] == [7] * 6 + [3] * 6


def test_an_arm_with_the_name_of_a_control_s_cell_is_refused() -> None:
    file = study_file(arms={**ARMS, "longer-of-rsir": {"fidelity.rank_threshold": 9}})
    with pytest.raises(ConfigError, match="'longer-of-rsir'"):
        cells_of(file, (0,))


def test_the_controls_set_what_they_are_called_by() -> None:
    arms = {**ARMS, "copies": {"control": "copies"}, "coin": {"control": "random", "generation.trials_per_sequence": 3}}
    file = study_file(arms=arms)
    configs = {cell.name: config_of(file, cell) for cell in cells_of(file, (5,)) if cell.of is None}
    assert (configs["base"].loop.iterations, configs["aa"].loop.iterations) == (0, 0)
    assert (configs["base"].seed, configs["aa"].seed) == (5, AA_SEED + 5)
    assert configs["copies"].generation.augmenter == "copies"
    assert (configs["coin"].fidelity.mode, configs["coin"].generation.trials_per_sequence) == ("random", 3)


def test_longer_training_may_be_had_for_some_arms_alone() -> None:
    arms = {**ARMS, "longer": {"control": "longer", "of": ["rsir"]}}
    file = study_file(arms=arms, without_controls="the shuffled arm claims nothing")
    assert [cell.name for cell in cells_of(file, (0,)) if cell.of] == ["longer-of-rsir"]


def test_longer_training_runs_its_passes_whatever_its_patience() -> None:
    file = study_file()
    longer = next(cell for cell in cells_of(file, (0,)) if cell.of)
    config = config_of(file, longer, passes=77)
    assert (config.training.max_epochs, config.training.patience, config.loop.iterations) == (77, 77, 0)


def test_an_arm_with_another_augmenter_leaves_the_base_s_options_behind() -> None:
    base = {"generation": {"augmenter": "slide_window"}, "augmenter": {"stride": 2}}
    file = study_file(base=base, arms={**ARMS, "shuffled": {"generation.augmenter": "reordering"}})
    configs = {cell.name: config_of(file, cell) for cell in cells_of(file, (0,))}
    assert configs["rsir"].augmenter["stride"] == 2
    assert "stride" not in configs["shuffled"].augmenter


def test_a_cell_records_metrics_at_the_study_s_cutoffs() -> None:
    file = study_file(cutoffs=[3, 10], base={"evaluation": {"cutoffs": [7]}})
    assert {config_of(file, cell).evaluation.cutoffs for cell in cells_of(file, (0,))} == {(3, 10)}


def test_a_cell_has_the_threads_of_its_processors() -> None:
    file = study_file(cell={"cpus": 3})
    assert {config_of(file, cell).training.threads for cell in cells_of(file, (0,))} == {3}


def test_arms_share_a_base_where_training_agrees_and_not_under_another_seed() -> None:
    file = study_file(arms={**ARMS, "wide": {"model.width": 16}, "mixed": {"training.synthetic_share": 0.5}})
    settings = {cell.name: base_settings(config_of(file, cell)) for cell in cells_of(file, (0,))}
    assert settings["base"] == settings["rsir"] == settings["shuffled"] == settings["mixed"]
    assert settings["base"] not in (settings["wide"], settings["aa"])


def test_an_override_that_no_section_has_names_its_cell() -> None:
    file = study_file(arms={**ARMS, "odd": {"model.height": 3}})
    with pytest.raises(ConfigError, match=r"config of odd: model\.height is not a setting"):
        config_of(file, next(cell for cell in cells_of(file, (0,)) if cell.name == "odd"))


def test_a_section_that_is_a_value_is_told() -> None:
    file = study_file(base={"loop": 3})
    with pytest.raises(ConfigError, match=r"base\.loop is a value"):
        config_of(file, cells_of(file, (0,))[0])
