"""Is the run what it says? Every byte that its manifests vouch for is hashed again, every stored row checked again.

Comes in: a run and its dataset. Goes out: a report that names each fault by file and, where there is one, row. Nothing
is written and nothing is trusted that can be recomputed: hashes of files, the chain of manifests, sums of counters,
metrics from ranks, the digest from rows, and the rows themselves by `verify_rows`. What is built on a damaged file is
not looked at, so that one changed byte gives one fault and not a hundred. Files that no manifest names are nobody's:
leftovers of attempts that lost are no fault.
"""

import hashlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial

import pyarrow as pa

from rsir_scale.augmenters.opening import augmenter_named, augmenter_of
from rsir_scale.config.effect import fingerprint_of
from rsir_scale.errors import IntegrityError
from rsir_scale.evaluation.metrics import mean_of
from rsir_scale.runs import layout
from rsir_scale.runs.begun import check_dataset
from rsir_scale.runs.evaluated import TEST_RANK, VALIDATION_RANK, Evaluation, read_ranks
from rsir_scale.runs.manifest import Link, Manifest, ModelLink, link_key, paired, read_link, require_no_later
from rsir_scale.runs.plan import check_files
from rsir_scale.runs.run import Run
from rsir_scale.runs.selection import SELECTION_METRIC
from rsir_scale.steps import Step, Tell, silent
from rsir_scale.storage.base import Store, sha256_of
from rsir_scale.verification.faults import Fault, Ledger
from rsir_scale.verification.generation import check_generation
from rsir_scale.verification.rows import verify_rows

_FAULTS_SHOWN = 100
_METRIC_TOLERANCE = 1e-9
_KINDS = frozenset({"model", "weights", "metrics", "ranks"})  # of every iteration


@dataclass(frozen=True)
class VerifyReport:
    """What `rsir verify --json` prints.

    Attributes:
        ok: no fault was found.
        files: files hashed again.
        rows: stored synthetic rows, settled duplicates included.
        rows_rechecked: those of them that were scored, or written, again.
        other_rows: in words, what the others were held to, but for those of damaged files; None where all were made
            again, or were to be.
        faults: sorted by file and row, the first hundred.
        fault_count: all of them.
    """

    ok: bool
    files: int
    rows: int
    rows_rechecked: int
    other_rows: str | None
    faults: tuple[Fault, ...]
    fault_count: int

    def to_json(self) -> dict[str, object]:
        """One JSON-ready mapping."""
        return asdict(self) | {"faults": [asdict(fault) for fault in self.faults]}


def verify(run: Run, *, rows_per_iteration: int | None = None, tell: Tell = silent) -> VerifyReport:
    """Check a run, finished or under way, against everything that it records.

    Args:
        run: by the settings that it holds.
        rows_per_iteration: rows of an iteration to make again, spread evenly; None for all. An augmenter that can
            only write a source as a whole makes all rows of their sources again.
        tell: is told what is being checked.

    Raises:
        InputError: the dataset is not the one that the run was made from.
    """
    ledger = Ledger()
    _check_dataset(run, ledger)
    manifests = _manifests(run, ledger)
    _check_teacher(run, manifests, ledger)
    rows = rechecked = 0
    for manifest in manifests:
        earlier_whole = not ledger.damaged
        for number, entry in enumerate(manifest.files, start=1):
            tell(Step(f"iteration {manifest.iteration}  hashing", number, len(manifest.files), "file"))
            _hash(run.store, entry.key, entry.key, entry.sha256, ledger)
        _check_metrics(run.store, manifest, ledger)
        if manifest.generation is None:
            continue
        rows += sum(entry.rows or 0 for entry in manifest.files if entry.kind == "part")
        augmenter = augmenter_of(run, manifest.iteration)
        plan = check_generation(augmenter, manifest, ledger, earlier_whole=earlier_whole)
        if plan is not None:
            rechecked += verify_rows(augmenter, manifest, plan, ledger, limit=rows_per_iteration, tell=tell)
    faults = ledger.sorted_faults()
    return VerifyReport(
        ok=not faults,
        files=ledger.files,
        rows=rows,
        rows_rechecked=rechecked,
        other_rows=augmenter_named(run.config).not_again if rows_per_iteration and rechecked < rows else None,
        faults=tuple(faults[:_FAULTS_SHOWN]),
        fault_count=len(faults),
    )


def _check_dataset(run: Run, ledger: Ledger) -> None:
    ledger.guard(layout.PROVENANCE, lambda: check_dataset(run))
    with suppress(IntegrityError):  # a damaged plan is named with its iteration
        check_files(run)
    dataset = run.dataset
    for file in dataset.meta.files:
        _hash(dataset.store, file.path, f"{dataset.path}/{file.path}", file.sha256, ledger)


def _hash(store: Store, key: str, name: str, expected: str, ledger: Ledger) -> None:
    ledger.files += 1
    found = ledger.guard(name, lambda: sha256_of(store, key))
    if found is not None and found[0] != expected:
        ledger.add(name, f"its SHA-256 is {found[0]}, the record says {expected}")
    ledger.damaged |= ledger.blames(name)


def _manifests(run: Run, ledger: Ledger) -> list[Manifest]:
    """Read the chain from its start to the first link that cannot be read."""
    links: list[Link] = []
    parent: str | None = None
    while found := ledger.guard(key := link_key(len(links)), partial(read_link, run.store, len(links))):
        ledger.files += 1
        link, sha256 = found
        if link.parent_sha256 != parent:
            what = f"it names parent {link.parent_sha256}, but the link before it has SHA-256 {parent}"
            ledger.add(key, f"{what}: one of the two was changed")
        if isinstance(link, ModelLink):
            _check_origin(run, link, key, ledger)
        links.append(link)
        parent = sha256
    if not ledger.blames(key):
        ledger.guard(key, partial(require_no_later, run.store, len(links)))
    return paired(links)


def _check_origin(run: Run, link: ModelLink, key: str, ledger: Ledger) -> None:
    """Hold a model's link to the run's settings and data, and to the files that it must name."""
    if link.config_fingerprint != run.config.fingerprint():
        ledger.add(key, f"it belongs to other settings than {layout.RUN_CONFIG}")
    if fingerprint_of(link.settings) != link.config_fingerprint:
        ledger.add(key, "its settings are not those of its fingerprint")
    if link.dataset_fingerprint != run.dataset.meta.fingerprint:
        ledger.add(key, "it belongs to other data than the run's dataset")
    absent = _KINDS - {entry.kind for entry in link.files}
    if absent:
        ledger.add(key, f"it names no file of {', '.join(sorted(absent))}")


def _check_teacher(run: Run, manifests: list[Manifest], ledger: Ledger) -> None:
    """Hold the run's copy of its teacher to what each manifest says of it."""
    if not manifests:
        return
    named, has_one = manifests[0].model.teacher, run.config.generation.teacher is not None
    for manifest in manifests:
        if manifest.model.teacher != named or (named is not None) != has_one:
            ledger.add(layout.model_link(manifest.iteration), "it names another teacher than the run has")
            return
    if named is None:
        return
    _hash(run.store, layout.TEACHER, layout.TEACHER, hashlib.sha256(named.to_bytes()).hexdigest(), ledger)
    for entry in named.weights:
        _hash(run.store, entry.key, entry.key, entry.sha256, ledger)


def _check_metrics(store: Store, manifest: Manifest, ledger: Ledger) -> None:
    """Hold the manifest's metrics to metrics.json, and these to the ranks that they are means of."""
    key = layout.metrics(manifest.iteration)
    if not any(entry.kind == "metrics" for entry in manifest.files) or ledger.blames(key):
        return
    evaluation = ledger.guard(key, lambda: Evaluation.from_bytes(store.read(key), key))
    if evaluation is None:
        return
    if evaluation.metrics != manifest.metrics:
        ledger.add(layout.model_link(manifest.iteration), f"its metrics are not those of {key}")
    if SELECTION_METRIC not in evaluation.metrics:
        ledger.add(key, f"it holds no {SELECTION_METRIC}, by which the recursion ends")
    if evaluation.ranks not in manifest.files:
        ledger.add(key, f"it names ranks {evaluation.ranks.key}, which the manifest does not")
    if ledger.blames(evaluation.ranks.key):
        return
    _check_means(evaluation, read_ranks(store, evaluation), key, ledger)


def _check_means(evaluation: Evaluation, ranks: pa.Table, key: str, ledger: Ledger) -> None:
    """Compute each recorded metric again; one that this version does not know, or did not have then, is no fault."""
    columns = {"validation": VALIDATION_RANK, "test": TEST_RANK}
    ranks_of = {name: ranks.column(column).drop_null().to_numpy() for name, column in columns.items()}
    cap = evaluation.rank_cap
    if cap is not None and any(len(told) and told.max() > cap + 1 for told in ranks_of.values()):
        ledger.add(evaluation.ranks.key, f"it holds a rank beyond {cap + 1}, and {key} says rank_cap {cap}")
    for name, told in evaluation.metrics.items():
        users, _, metric = name.partition("/")
        again = mean_of(ranks_of[users], metric) if users in ranks_of else None
        if again is not None and abs(told - again) > _METRIC_TOLERANCE:
            ledger.add(key, f"{name} is {told}, the ranks give {again}")
