"""Beginning and resuming: what may change, what is refused, and that a refusal leaves no trace."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rsir_scale.errors import ConfigError, InputError, IntegrityError, LeaseHeldError, ResumableError
from rsir_scale.runs import layout
from rsir_scale.runs import open_run as module
from rsir_scale.runs.begun import read_config, read_provenance
from rsir_scale.runs.lease import Lease, LeaseRecord
from rsir_scale.runs.open_run import open_run
from rsir_scale.storage.base import temporary_name
from rsir_scale.storage.local import LocalStore
from rsir_scale.storage.opening import open_store
from tests.runs.world import config, dataset


class Killed(BaseException):
    """The process ends here."""


def test_new_run_keeps_config_and_provenance(tmp_path: Path) -> None:
    store = open_store(tmp_path / "new" / "run")
    with open_run(store, config(), dataset()) as run:
        run.lease.assert_held()
        assert run.facts == ()
    assert read_config(store) == config()
    provenance = read_provenance(store)
    assert provenance is not None
    assert provenance.dataset.fingerprint == dataset().meta.fingerprint
    assert "torch" in provenance.versions


def test_resume_refuses_other_settings_naming_old_and_new(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with open_run(store, config(), dataset()):
        pass
    before = sorted(store.list(""))
    other = config(fidelity={"rank_threshold": 20}, model={"width": 32})
    with pytest.raises(ConfigError) as caught, open_run(store, other, dataset()):
        pass
    assert "fidelity.rank_threshold: 5 → 20" in str(caught.value)
    assert "model.width: 64 → 32" in str(caught.value)
    assert sorted(store.list("")) == before
    assert read_config(store) == config()


def test_resume_refuses_other_data(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with open_run(store, config(), dataset()):
        pass
    meta = dataset().meta.model_copy(update={"fingerprint": "f" * 64})
    with pytest.raises(ConfigError, match="f" * 64), open_run(store, config(), replace(dataset(), meta=meta)):
        pass


def test_resume_refuses_other_item_vectors_in_the_file_of_the_same_name(tmp_path: Path) -> None:
    store, file = open_store(tmp_path / "run"), tmp_path / "vectors.parquet"
    file.write_bytes(b"one")
    settings = config(model={"backbone": "semantic_id", "item_vectors": str(file)})
    for _ in range(2):
        with open_run(store, settings, dataset()):
            pass
    file.write_bytes(b"two")
    with pytest.raises(ConfigError, match="began with other item vectors"), open_run(store, settings, dataset()):
        pass
    file.unlink()
    with pytest.raises(InputError, match="cannot be read"), open_run(store, settings, dataset()):
        pass


def test_settings_without_effect_may_change_and_are_written_back(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with open_run(store, config(), dataset()):
        pass
    raised = config(loop={"iterations": 5}, data={"path": "/moved"})
    with open_run(store, raised, dataset()):
        assert read_config(store).loop.iterations == 5
    assert read_config(store).data.path == "/moved"


def test_settings_that_no_file_of_settings_may_be_as_large_as_are_refused_before_anything(tmp_path: Path) -> None:
    long = config(model={"backbone": "package.module:Class", "options": {"sizes": [1] * 20_000}})
    store = open_store(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"spelled out.*model\.options"), open_run(store, long, dataset()):
        pass
    assert list(store.list("")) == []


def test_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"thesis\.txt"), open_run(open_store(tmp_path), config(), dataset()):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_live_lease_refuses_a_second_driver(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with open_run(store, config(), dataset()), pytest.raises(LeaseHeldError), open_run(store, config(), dataset()):
        pass


@pytest.mark.parametrize("victim", [layout.lease(0), layout.PROVENANCE, layout.RUN_CONFIG])
def test_crash_at_any_step_of_the_beginning_is_taken_up_again(tmp_path: Path, victim: str) -> None:
    steps: list[tuple[str, str]] = []
    with open_run(LocalStore(tmp_path / "whole", before=lambda *step: steps.append(step)), config(), dataset()):
        pass
    reached = [step for step, key in steps if key == victim and step.startswith(("put.", "create."))]
    assert reached
    for step in dict.fromkeys(reached):
        folder = tmp_path / step

        def before(now: str, key: str, step: str = step) -> None:
            if (now, key) == (step, victim):
                raise Killed

        with pytest.raises(Killed), open_run(LocalStore(folder, before=before), config(), dataset()):
            pass
        # In one process nobody dies, so the lease of the one that did is taken away by hand.
        for key in list(open_store(folder).list("lease")):
            open_store(folder).delete(key)
        with open_run(open_store(folder), config(), dataset()) as run:
            assert read_config(run.store) == config()


@pytest.mark.parametrize("victim", [layout.PROVENANCE, layout.RUN_CONFIG])
def test_driver_that_was_silent_while_another_began_the_run_changes_nothing(tmp_path: Path, victim: str) -> None:
    other = config(model={"width": 32})

    def before(step: str, key: str) -> None:
        if (step, key) == ("create.link", victim):
            held = LeaseRecord.from_bytes(store.read(layout.lease(0)), "lease")
            store.put(layout.lease(0), held.model_copy(update={"released": True}).to_bytes())
            with open_run(store, other, dataset()):
                pass

    store = open_store(tmp_path)
    with pytest.raises(ResumableError, match="another driver began"):
        _open(LocalStore(tmp_path, before=before))
    assert read_config(store) == other


def test_driver_that_looks_while_another_begins_the_run_goes_by_the_lease(tmp_path: Path) -> None:
    class Slow(LocalStore):
        def list(self, prefix: str) -> Iterator[str]:
            with open_run(LocalStore(tmp_path), config(), dataset()):
                pass
            return super().list(prefix)

    _open(Slow(tmp_path))
    assert LocalStore(tmp_path).exists(layout.lease(1))


def _open(store: LocalStore) -> None:
    with open_run(store, config(), dataset()):
        pass


def test_changed_versions_are_a_recorded_fact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path)
    with open_run(store, config(), dataset()):
        pass
    monkeypatch.setattr(module, "_versions", lambda: {"torch": "99.0"})
    with open_run(store, config(), dataset()) as run:
        assert any("torch was" in fact and "99.0" in fact for fact in run.facts)


def test_no_run_and_damaged_run_are_told_apart(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with pytest.raises(InputError, match="so it is no run"):
        read_config(store)
    for text in (b"\xff\xfe", b"a: [", b"data: 7", b"- 1"):
        store.put(layout.RUN_CONFIG, text)
        with pytest.raises(IntegrityError, match=r"run\.yaml"):
            read_config(store)


def test_driver_that_was_killed_in_its_first_moments_left_a_lease_and_a_temporary(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with Lease(store):
        pass
    (tmp_path / temporary_name()).write_bytes(b"{")
    with open_run(store, config(), dataset()) as run:
        run.lease.assert_held()


def test_settings_that_lost_their_end_are_not_taken_for_others(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with open_run(store, config(), dataset()):
        pass
    whole = store.read(layout.RUN_CONFIG)
    lines = whole.splitlines(keepends=True)
    for count in range(1, len(lines)):
        store.put(layout.RUN_CONFIG, b"".join(lines[:count]))
        with pytest.raises(IntegrityError, match=r"run\.yaml"):
            read_config(store)
    # Runs of version 0.1 have no marks.
    store.put(layout.RUN_CONFIG, b"".join(lines[1:-1]))
    assert read_config(store) == config()


@pytest.mark.parametrize("late", [layout.PROVENANCE, layout.RUN_CONFIG])
def test_a_driver_that_wakes_up_late_does_not_begin_the_run_again(tmp_path: Path, late: str) -> None:
    def before(step: str, key: str) -> None:
        if (step, key) == ("create.write", late):
            open_store(tmp_path).create(late, b"of another driver")

    with (
        pytest.raises(ResumableError, match="another driver began this run"),
        open_run(LocalStore(tmp_path, before=before), config(), dataset()),
    ):
        pass
    assert open_store(tmp_path).read(late) == b"of another driver"
