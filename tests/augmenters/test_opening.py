"""What the manifest says of settings that somebody set and that the named augmenter does not read."""

from collections.abc import Mapping
from typing import Any

import pytest

from rsir_scale.augmenters.opening import unread_settings
from rsir_scale.config.augmenters import BUILT_IN
from rsir_scale.config.file import resolve
from rsir_scale.config.settings import TEACHER, TRIALS

READS_TEACHER = {"rsir", "insertion", "diffuasr"}
FIXES_TRIALS = {"asrep", "diffuasr", "dr4sr"}


def _unread(augmenter: str, *, options: Mapping[str, Any] | None = None, **sections: dict[str, Any]) -> list[str]:
    """The settings that a fact names."""
    generation = {"augmenter": augmenter, **sections.pop("generation", {})}
    raw = {"data": {"path": "nowhere"}, "generation": generation, "augmenter": options or {}, **sections}
    facts = unread_settings(resolve(raw))
    ending = f": generation.augmenter={augmenter} does not read this"
    assert all(fact.endswith(ending) for fact in facts)
    return [name for fact in facts for name in fact.removesuffix(ending).split(", ")]


@pytest.mark.parametrize("augmenter", BUILT_IN)
def test_nothing_is_said_where_nobody_set_anything(augmenter: str) -> None:
    assert _unread(augmenter) == []


@pytest.mark.parametrize("augmenter", BUILT_IN)
def test_a_teacher_is_told_where_it_teaches_nothing(augmenter: str) -> None:
    assert _unread(augmenter, generation={"teacher": "runs/other"}) == ([] if augmenter in READS_TEACHER else [TEACHER])


def test_a_teacher_is_told_where_insertion_compares_no_vectors() -> None:
    unread = _unread("insertion", options={"similarity": "cooccurrence"}, generation={"teacher": "runs/other"})
    assert unread == [TEACHER]


@pytest.mark.parametrize("augmenter", BUILT_IN)
def test_trials_are_told_where_the_augmenter_says_itself_how_many_rows_a_source_has(augmenter: str) -> None:
    assert _unread(augmenter, generation={"trials_per_sequence": 7}) == ([TRIALS] if augmenter in FIXES_TRIALS else [])


@pytest.mark.parametrize("augmenter", BUILT_IN)
def test_what_belongs_to_the_papers_generator_is_told_of_all_others(augmenter: str) -> None:
    unread = _unread(augmenter, generation={"reading": "released", "top_candidates": 7}, fidelity={"nprobe": 3})
    whose = ["fidelity.nprobe", "generation.reading", "generation.top_candidates"]
    assert unread == ([] if augmenter == "rsir" else whose)
