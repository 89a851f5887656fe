from pathlib import Path

from rsir_scale.storage.base import Store
from rsir_scale.storage.opening import open_store
from rsir_scale.studies.looks import read_looks, record_look, warning_of

ONE, OTHER = "1" * 64, "2" * 64


def look(store: Store, models: str, done: int = 3) -> list[str]:
    return warning_of(record_look(store, done=done, cells=9, models_sha256=models))


def test_the_same_models_are_one_look_and_others_are_warned_of(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert look(store, ONE) == look(store, ONE) == []
    assert "once before, first with 3 of 9 cells" in look(store, OTHER, done=9)[0]
    assert "once before" in look(store, OTHER, done=9)[0]
    assert [each.done for each in read_looks(store)] == [3, 9]


def test_going_back_to_models_that_were_seen_first_is_a_look_after_others(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for models in (ONE, OTHER):
        look(store, models, done=4)
    assert "once before, first with 4 of 9" in look(store, ONE)[0]
    assert len(read_looks(store)) == 3
