"""A run as a page needs it: opened once, and every file that the page rests on held to its hash.

Comes in: a run's store. Goes out: its manifests, D_0 and its verdict. A page shows nothing of a damaged file.
"""

from dataclasses import dataclass

from rsir_scale.analysis.verdict import Verdict, verdict_of
from rsir_scale.config.settings import EvaluationConfig
from rsir_scale.data.dataset import Sequences
from rsir_scale.errors import InputError
from rsir_scale.runs.begun import check_dataset, read_config, stored_run
from rsir_scale.runs.manifest import Manifest, read_chain
from rsir_scale.runs.records import read_entry
from rsir_scale.runs.run import Run
from rsir_scale.storage.base import Store

_READ = frozenset({"part", "dropped", "replaced", "metrics", "model", "learned", "plan"})  # ranks are held to theirs


@dataclass(frozen=True)
class Finished:
    """A run with one finished iteration or more."""

    run: Run
    manifests: list[Manifest]
    real: Sequences
    verdict: Verdict

    @property
    def compared(self) -> int:
        """The iteration that is set against theta_0; 0 where there is none."""
        return self.verdict.iteration or 0

    @property
    def written(self) -> list[Manifest]:
        """The iterations that wrote sequences."""
        return [manifest for manifest in self.manifests if manifest.generation is not None]


def finished_run(store: Store) -> Finished:
    """Open a run for its page.

    Raises:
        InputError: there is no run, it has finished nothing yet, or its dataset is gone or another one.
        IntegrityError: a file is damaged.
    """
    manifests, verdict = judged(store, read_config(store).evaluation)
    run = stored_run(store)
    check_dataset(run)
    return Finished(run, manifests, run.dataset.training_sequences(), verdict)


def judged(store: Store, evaluation: EvaluationConfig) -> tuple[list[Manifest], Verdict]:
    """The manifests of a run whose files are whole, and its verdict; see `finished_run` for what is raised."""
    manifests = read_chain(store)
    if not manifests:
        raise InputError(f"{store.root} has finished no iteration yet: let `rsir run` go on, then ask again")
    for manifest in manifests:
        for entry in manifest.files:
            if entry.kind in _READ:
                read_entry(store, entry)
    return manifests, verdict_of(store, manifests, evaluation)
