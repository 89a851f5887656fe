"""A key says what it was made of, and nothing else is taken for a key."""

import inspect
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.runs import layout
from rsir_scale.runs.layout import Kind, Place, parse

NUMBER = st.integers(0, 10**7)
FIELDS = {
    **dict.fromkeys(("iteration", "shard", "part", "generation"), NUMBER),
    "fit": st.builds(
        lambda make, iteration: make(iteration), st.sampled_from([layout.training, layout.learning]), NUMBER
    ),
    "attempt": st.text("0123456789abcdef", min_size=12, max_size=12),
}
PLACES = st.builds(Place, st.sampled_from(Kind), **FIELDS)
# What makes no key.
OTHERS = {"folder", "new_attempt", "parse", "is_record"}
KEYS: dict[str, Callable[..., str]] = {
    name: function
    for name, function in inspect.getmembers(layout, inspect.isfunction)
    if function.__module__ == layout.__name__ and name not in OTHERS and not name.startswith("_")
}
CONSTANTS = {name: key for name, key in vars(layout).items() if name.isupper() and isinstance(key, str)}


def test_every_kind_has_a_name_that_makes_its_key() -> None:
    assert {name.upper() for name in KEYS} | CONSTANTS.keys() == {kind.name for kind in Kind}


@given(fields=st.fixed_dictionaries(FIELDS))
def test_a_key_says_what_it_was_made_of(fields: dict[str, int | str]) -> None:
    for name, key_of in KEYS.items():
        said = {field: fields[field] for field in inspect.signature(key_of).parameters}
        assert parse(key_of(**said)) == Place(Kind[name.upper()], **said)


@pytest.mark.parametrize("name", CONSTANTS)
def test_a_key_that_there_is_once_says_its_kind(name: str) -> None:
    assert parse(CONSTANTS[name]) == Place(Kind[name])


@given(place=PLACES, at=st.integers(0, 80), dropped=st.integers(0, 1), added=st.text("0a9F./-", max_size=2))
def test_a_key_with_a_slip_in_it_is_another_key_or_none(place: Place, at: int, dropped: int, added: str) -> None:
    key = place.key[:at] + added + place.key[at + dropped :]
    found = parse(key)
    assert found is None or found.key == key


@pytest.mark.parametrize(
    "key",
    [
        "iteration=0001/metrics.json",
        "iteration=0001/training/state.json",
        "iteration=000/metrics.json/state.json",
        "state.json",
        "iteration=01/metrics.json",
        "iteration=\N{ARABIC-INDIC DIGIT ZERO}01/metrics.json",
        "iteration=000/metrics.json\n",
        "iteration=000/ranks.0123456789AB.parquet",
        "iteration=000/ranks.0123456789abc.parquet",
        "iteration=000/ranks.mine.0123456789ab.parquet",
        "iteration=000/generation/data/part-000000.0123456789ab.parquet",
        "x/iteration=000/metrics.json",
        "teacher/weights-mine.0123456789ab.safetensors",
    ],
)
def test_what_only_looks_like_a_key_is_none(key: str) -> None:
    assert parse(key) is None


def test_any_json_in_a_folder_of_ours_may_name_objects() -> None:
    assert all(map(layout.is_record, (layout.TEACHER, layout.plan(0), layout.commit(3, 4), "iteration=000/a/b.json")))
    assert not any(map(layout.is_record, ("notes.json", layout.PROVENANCE, layout.ranks(0, "0" * 12), "iteration=0/a")))
