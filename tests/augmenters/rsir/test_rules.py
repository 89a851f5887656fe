"""Rules follow from the settings: two readings as presets, and a threshold that rejects nothing is refused."""

import pytest

from rsir_scale.augmenters.rsir.rules import Rules, resolve_rules
from rsir_scale.config.file import resolve
from rsir_scale.config.settings import Config
from rsir_scale.errors import ConfigError


def _rules(*, item_count: int = 100, repeat_share: float = 0.0, **sections: dict[str, object]) -> Rules:
    config: Config = resolve({"data": {"path": "x"}, **sections})
    return resolve_rules(
        config.generation, config.fidelity, item_count=item_count, repeat_share=repeat_share, longest=50
    )


def test_the_released_reading_is_that_of_the_authors_code() -> None:
    rules = _rules(generation={"reading": "released"})
    assert rules.check_before_choice
    assert not rules.own_vouches_for_itself
    assert rules.source_items_left_out == 1
    assert not rules.start_at_prefix
    assert rules.greedy
    assert (rules.min_length, rules.max_length) == (3, 50)


def test_the_paper_reading_checks_what_it_chose() -> None:
    rules = _rules(generation={"reading": "paper"})
    assert not rules.check_before_choice
    assert rules.own_vouches_for_itself
    assert rules.source_items_left_out == 0
    assert (rules.min_length, rules.max_length) == (2, None)


@pytest.mark.parametrize("mode", ["exact", "random"])
@pytest.mark.parametrize("threshold", [100, 101, 20_000_000])
def test_a_threshold_not_below_the_catalogue_is_refused_by_value(threshold: int, mode: str) -> None:
    with pytest.raises(ConfigError, match=rf"rank_threshold={threshold} .* 100: .*1\.\.99"):
        _rules(fidelity={"rank_threshold": threshold, "mode": mode})


def test_the_largest_threshold_is_accepted_and_off_needs_none() -> None:
    assert _rules(fidelity={"rank_threshold": 99}).rank_threshold == 99
    assert _rules(fidelity={"mode": "off", "rank_threshold": 20_000_000}).rank_threshold is None


@pytest.mark.parametrize("mode", ["clustered", "auto"])
@pytest.mark.parametrize(
    ("fidelity", "generation", "names"),
    [
        ({"rank_threshold": 2041}, {}, "not 2041 in 32"),
        ({}, {"top_candidates": 2041}, "not 2041 in 32"),
        ({"nprobe": 2049, "clusters": 3000}, {}, "in 2049"),
    ],
)
def test_more_than_faiss_finds_on_a_gpu_is_refused_before_anything_starts(mode, fidelity, generation, names) -> None:
    def rules(**settings: object) -> Rules:
        wanted = {"fidelity": {"mode": mode} | fidelity | settings, "generation": {"use_gpu": True} | generation}
        return _rules(item_count=10_000, **wanted)

    with pytest.raises(ConfigError, match=names):
        rules()
    rules(scan="torch")


@pytest.mark.parametrize(
    ("setting", "share", "allowed"),
    [("auto", 0.05, False), ("auto", 0.1, True), ("true", 0.0, True), ("false", 0.9, False)],
)
def test_repeats_are_allowed_as_set_or_where_the_log_repeats(setting: str, share: float, allowed: bool) -> None:
    rules = _rules(generation={"allow_repeats": setting}, repeat_share=share)
    assert rules.allow_repeats is allowed
