"""Which search an iteration generates with: decided once, recorded, and opened alike by every process.

Comes in: the iteration's model and the settings. Goes out: with `fidelity.mode=exact` or `off` nothing, for they say it
all; otherwise clusters of the catalogue under an attempt's own name, and after them `search.json`, created only if
absent, which says what every shard of the iteration uses. Clusters start from those of the iteration before. What
`auto` chose for the first iteration holds for the run.
"""

from dataclasses import dataclass, replace

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from rsir_scale.augmenters.rsir.calibration import Mode, Verdict, calibrate, coin
from rsir_scale.augmenters.rsir.rules import Rules, cluster_count, cut_sources, rules_of
from rsir_scale.config.settings import FidelityConfig
from rsir_scale.data.sequences import Sequences, empty
from rsir_scale.errors import ConfigError, IntegrityError
from rsir_scale.models.base import Backbone
from rsir_scale.models.repository import load_writing_model
from rsir_scale.randomness import Purpose, derive_seed
from rsir_scale.ranking.base import ItemSearch, require_finite_items
from rsir_scale.ranking.build import clustered_search, exact_search
from rsir_scale.ranking.clusters import Clusters, Maker, make_clusters, maker_here
from rsir_scale.ranking.compiled import instructions
from rsir_scale.ranking.faiss import load_faiss
from rsir_scale.runs import layout
from rsir_scale.runs.lineage import load_slices
from rsir_scale.runs.plan import ShardPlan
from rsir_scale.runs.records import Count, FileEntry, Record, entry_of, write_entry
from rsir_scale.runs.run import Run
from rsir_scale.storage.base import AlreadyExistsError, sha256_of

_SAMPLE_SOURCES = 256


class SearchRecord(Record):
    """What `generation/search.json` holds.

    Attributes:
        mode: what checks and chooses in this iteration.
        why: in words.
        figures: what `auto` measured: seconds projected for one actor, and rates.
        clusters: the file of clusters; None for exact.
        clusters_by: what made them; None without any, and in runs that are older than the choice.
    """

    iteration: Count
    mode: Mode
    why: str
    figures: dict[str, float]
    clusters: FileEntry | None
    clusters_by: Maker | None = None


def prepare_search(run: Run, plan: ShardPlan, *, device: str = "cpu") -> None:
    """Decide an iteration's search and make its clusters, if that is needed and was not done.

    Args:
        plan: of an iteration whose model is published.
        device: on which shards will be generated; `auto` times there.

    Raises:
        ConfigError: the settings cannot work on this catalogue.
        IntegrityError: the model is damaged, an item vector is not finite, or an earlier decision is missing.
        ResumableError: there is a coin to measure, and every source of its sample fails.
    """
    store = run.store
    if not decides(run.config.fidelity) or store.exists(layout.search(plan.iteration)):
        return
    backbone = load_writing_model(run, plan.iteration, device=device)
    require_finite_items(backbone.item_vectors(), name=run.dataset.item_name)
    maker = _Maker(run, plan.iteration, backbone.item_vectors())
    verdict = _verdict(run, plan, backbone, maker)
    clusters = maker.publish() if verdict.mode == "clustered" else None
    record = SearchRecord(
        iteration=plan.iteration,
        mode=verdict.mode,
        why=verdict.why,
        figures=verdict.figures,
        clusters=clusters,
        clusters_by=None if clusters is None else maker_here(),
    )
    try:
        store.create(layout.search(plan.iteration), record.to_bytes())
    except AlreadyExistsError:
        # Another attempt decided first: its record counts, and our clusters are an orphan.
        return


def check_search(fidelity: FidelityConfig) -> None:
    """Refuse, before anything is trained, a search that is not installed here. Raises ConfigError."""
    if fidelity.scan == "faiss":
        load_faiss()
    if fidelity.scan == "compiled" and fidelity.mode != "off" and not instructions():
        raise ConfigError(
            "fidelity.scan=compiled, but the compiled search is not built here: install a C++ compiler and run `pip "
            "install --force-reinstall --no-deps .`, or leave fidelity.scan out"
        )


def decides(fidelity: FidelityConfig) -> bool:
    """Whether the settings leave something to be decided or made for each iteration."""
    return fidelity.mode in ("clustered", "auto", "random")


def decided_search(run: Run, iteration: int) -> SearchRecord | None:
    """What was decided for an iteration; None where the settings leave nothing to decide.

    Raises:
        IntegrityError: the record is missing or damaged.
    """
    fidelity, key = run.config.fidelity, layout.search(iteration)
    if not decides(fidelity):
        return None
    name, data = f"{run.store.root}/{key}", run.store.read_if_exists(key)
    if data is None:
        raise IntegrityError(
            f"{name} is missing, and under fidelity.mode={fidelity.mode} the iteration's shards do what it says: "
            "restore it"
        )
    return SearchRecord.from_bytes(data, name)


def acceptance(run: Run, iteration: int) -> float | None:
    """How often the iteration's coin passes a step; None where a check decides. Raises as `decided_search` does."""
    record = decided_search(run, iteration)
    return None if record is None or record.mode != "random" else record.figures["acceptance"]


def search_files(run: Run, iteration: int) -> list[FileEntry]:
    """What the manifest has to name of an iteration's search. Raises as `decided_search` does."""
    record = decided_search(run, iteration)
    if record is None:
        return []
    entry = entry_of(run.store, layout.search(iteration), "search")
    return [entry] if record.clusters is None else [entry, record.clusters]


def open_search(run: Run, iteration: int, items_VD: Tensor) -> ItemSearch:
    """Build the iteration's search over its item vectors, on their device.

    Raises:
        IntegrityError: an item vector is not finite, the record is missing, or the clusters are not those it names.
        ConfigError: the search cannot serve the table here.
    """
    fidelity = run.config.fidelity
    require_finite_items(items_VD, name=run.dataset.item_name)
    clusters = open_clusters(run, iteration)
    if clusters is None:
        return exact_search(items_VD, scan="auto" if fidelity.scan == "faiss" else fidelity.scan)
    return clustered_search(
        items_VD, clusters, nprobe=fidelity.nprobe, semantics=fidelity.semantics, scan=fidelity.scan
    )


def open_clusters(run: Run, iteration: int) -> Clusters | None:
    """The clusters that an iteration generates with; None where it checks exactly. Raises IntegrityError."""
    record = decided_search(run, iteration)
    if record is None or record.clusters is None:
        return None
    store, key = run.store, record.clusters.key
    if sha256_of(store, key)[0] != record.clusters.sha256:
        raise IntegrityError(f"{store.root}/{key} is not what {layout.search(iteration)} says: restore it")
    try:
        return Clusters(**load(store.read(key)))
    except (SafetensorError, TypeError) as error:
        raise IntegrityError(f"{store.root}/{key} holds no clusters ({error}): restore it") from error


@dataclass
class _Maker:
    """Makes an iteration's clusters, at most once."""

    run: Run
    iteration: int
    items_VD: Tensor
    made: Clusters | None = None

    def clusters(self) -> Clusters:
        if self.made is None:
            config = self.run.config
            count = cluster_count(config.fidelity, len(self.items_VD) - 1)
            seed = derive_seed(config.seed, self.iteration, Purpose.CLUSTER)
            start = open_clusters(self.run, self.iteration - 1) if self.iteration else None
            self.made = make_clusters(self.items_VD, clusters=count, seed=seed, start=start)
        return self.made

    def search(self) -> ItemSearch:
        fidelity = self.run.config.fidelity
        return clustered_search(
            self.items_VD,
            self.clusters(),
            nprobe=fidelity.nprobe,
            semantics=fidelity.semantics,
            scan=fidelity.scan,
        )

    def publish(self) -> FileEntry:
        clusters = self.clusters()
        tensors = {"cluster_V": clusters.cluster_V.contiguous(), "probe_CD": clusters.probe_CD.contiguous()}
        key = layout.clusters(self.iteration, layout.new_attempt())
        return write_entry(self.run.store, key, "clusters", save(tensors))


def _verdict(run: Run, plan: ShardPlan, backbone: Backbone, maker: _Maker) -> Verdict:
    config, fidelity = run.config, run.config.fidelity
    count = cluster_count(fidelity, run.dataset.meta.items)
    probed = f"{fidelity.nprobe} of {count} clusters are probed"
    if fidelity.mode == "clustered":
        return Verdict("clustered", f"{probed}, semantics {fidelity.semantics}")
    if fidelity.mode == "random":
        checked = config.model_copy(update={"fidelity": fidelity.model_copy(update={"mode": "exact"})})
        rules = rules_of(checked, run.dataset)
        return coin(
            backbone,
            _sample(run, plan, rules),
            rules,
            identity=(config.seed, plan.iteration),
            search=exact_search(maker.items_VD, scan=fidelity.scan),
        )
    earlier = decided_search(run, 0) if plan.iteration else None
    if earlier is not None:
        return Verdict(earlier.mode, f"as in iteration 0: {earlier.why}")
    if fidelity.nprobe >= min(count, run.dataset.meta.items):
        return Verdict("exact", f"{probed}: nothing would be left out")
    rules = rules_of(config, run.dataset)
    verdict = calibrate(
        backbone,
        _sample(run, plan, rules),
        rules,
        identity=(config.seed, plan.iteration),
        exact=exact_search(maker.items_VD, scan="auto" if fidelity.scan == "faiss" else fidelity.scan),
        clustered=maker.search,
        sources_per_actor=plan.rows / config.generation.actors,
    )
    if verdict.mode == "exact":
        return verdict
    return replace(verdict, why=f"{probed}, semantics {fidelity.semantics}; {verdict.why}")


def _sample(run: Run, plan: ShardPlan, rules: Rules) -> Sequences:
    """Some usable sources of the first shard, spread evenly over it."""
    if not plan.shards:
        return empty()
    sources = cut_sources(load_slices(run, plan.files, plan.shards[0].slices), rules)
    usable = np.flatnonzero(sources.lengths >= 2)
    places = np.linspace(0, max(0, len(usable) - 1), min(len(usable), _SAMPLE_SOURCES)).astype(np.int64)
    return sources.select(usable[np.unique(places)])
