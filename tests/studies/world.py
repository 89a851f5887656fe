"""A finished study of two seeds on a small market, made once a process without Ray."""

import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from rsir_scale.storage.opening import open_store
from rsir_scale.studies.file import StudyFile, parse_study_file
from rsir_scale.studies.folder import Study, begin_study, read_study, record_of
from rsir_scale.studies.order import InProcess, bring_to_end
from tests.loop.tiny_run import tiny_dataset

SEEDS = (0, 1)
ARMS: dict[str, Any] = {
    "rsir": {},
    "shuffled": {"generation.augmenter": "reordering"},
    "aa": {"control": "aa"},
    "longer": {"control": "longer"},
}
FEW_ARMS: dict[str, Any] = {"arms": {"rsir": {}, "longer": {"control": "longer"}}, "without_controls": "a small study"}


def raw_study(**changes: Any) -> dict[str, Any]:
    """What a study file holds; keyword arguments replace its keys."""
    base = {
        "data": {"max_length": 8},
        "model": {"width": 8, "feed_forward": 8, "blocks": 1, "heads": 1, "dropout": 0.1},
        "training": {"max_epochs": 2, "batch_size": 16, "loss": "cross_entropy", "learning_rate": 0.02},
        "generation": {"trials_per_sequence": 1, "shard_sources": 64},
    }
    settings = {"base": base, "datasets": {"market": tiny_dataset().path}, "seeds": list(SEEDS), "arms": ARMS}
    return settings | {"cutoffs": [5, 10], **changes}


def study_file(**changes: Any) -> StudyFile:
    return parse_study_file(raw_study(**changes), "test.yaml")


def begin(folder: Path, file: StudyFile) -> Study:
    return begin_study(open_store(folder), record_of(file), file.seeds)


@cache
def finished_study() -> Study:
    """Twelve cells; nothing may change it."""
    file = study_file()
    study = begin(Path(mkdtemp(prefix="rsir-test-")) / "study", file)
    bring_to_end(study, file.seeds, InProcess(study.store.root))
    return study


def copy_of_study(folder: Path) -> Study:
    """A copy that a test may damage."""
    shutil.copytree(finished_study().store.root, folder)
    return read_study(open_store(folder))
