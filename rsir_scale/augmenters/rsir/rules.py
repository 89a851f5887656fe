"""The rules of a trial, resolved from the configuration: what differs between the two readings of the algorithm.

`paper` follows Algorithm 1 and Sec. 3.2; `released` follows the authors' public code, which leaves out the last item of
a source, checks the context *before* each choice and so never checks the item it chose last.
"""

import math
from dataclasses import dataclass

import numpy as np

from rsir_scale.config.settings import Config, FidelityConfig, GenerationConfig
from rsir_scale.data.dataset import PreparedDataset
from rsir_scale.data.sequences import Sequences, offsets_of
from rsir_scale.errors import ConfigError
from rsir_scale.ranking.lists import require_within_gpu_limits

REPEATS_FROM_SHARE = 0.1


@dataclass(frozen=True)
class Rules:
    """What one trial does.

    Attributes:
        check_before_choice: check the context so far, then choose; else choose, then check the grown context.
        own_vouches_for_itself: an own item just chosen still counts as remaining in its own check.
        source_items_left_out: items cut from the end of each source.
        start_at_prefix: start from a random prefix of 1..T-1 items, else from the first item.
        greedy: take the pool's best item, else sample among its `top_candidates` best.
        allow_repeats: an item of the context may be chosen again.
        max_length: longest context; None is the source's own length.
        rank_threshold: tau; None switches the check off.
        start_vouches: items that a trial starts with stay among the remaining ones (Algorithm 1: S_tgt = s_u).
        lengths: rows that a trial may leave: 1, its end; or one for each length from 2 on (Algorithm 1, line 739).
        acceptance: probability that a coin passes a step, in place of the check; None: there is no coin.
        (The others mean what the settings of the same name say.)
    """

    check_before_choice: bool
    own_vouches_for_itself: bool
    source_items_left_out: int
    start_at_prefix: bool
    greedy: bool
    allow_repeats: bool
    top_candidates: int
    temperature: float
    exploit_prob: float
    trials_per_sequence: int
    min_length: int
    max_length: int | None
    rank_threshold: int | None
    batch_size: int
    start_vouches: bool = False
    lengths: int = 1
    acceptance: float | None = None


def resolve_rules(
    generation: GenerationConfig, fidelity: FidelityConfig, *, item_count: int, repeat_share: float, longest: int
) -> Rules:
    """Resolve the settings for one dataset.

    Args:
        generation: the section of that name.
        fidelity: the section of that name.
        item_count: V, the catalogue size.
        repeat_share: share of training interactions that repeat an earlier item of their sequence.
        longest: items of the longest sequence.

    Raises:
        ConfigError: the threshold would accept everything without saying so, there are more clusters than items, or
            more are to be probed than there are, or more is wanted of FAISS than it finds on a GPU.
    """
    # A coin passes as many as the check would, and that is measured.
    if fidelity.mode != "off" and fidelity.rank_threshold >= item_count:
        raise ConfigError(
            f"fidelity.rank_threshold={fidelity.rank_threshold} is not below the catalogue size {item_count}: nothing "
            f"could be rejected. Set 1..{item_count - 1}, or fidelity.mode=off"
        )
    if fidelity.mode in ("clustered", "auto"):
        _check_clusters(fidelity, item_count)
        if generation.use_gpu and fidelity.scan in ("auto", "faiss"):
            wanted = min(max(fidelity.rank_threshold, generation.top_candidates), item_count)
            require_within_gpu_limits(wanted=wanted, probes=fidelity.nprobe)
    released = generation.reading == "released"
    repeats = {"true": True, "false": False, "auto": repeat_share >= REPEATS_FROM_SHARE}
    return Rules(
        check_before_choice=released,
        own_vouches_for_itself=fidelity.remaining == "before_choice",
        source_items_left_out=1 if released else 0,
        start_at_prefix=generation.start == "prefix",
        greedy=generation.choice == "greedy",
        allow_repeats=repeats[generation.allow_repeats],
        top_candidates=generation.top_candidates,
        temperature=generation.temperature,
        exploit_prob=generation.exploit_prob,
        trials_per_sequence=generation.trials_per_sequence,
        min_length=generation.min_length,
        max_length=generation.max_length,
        rank_threshold=None if fidelity.mode in ("off", "random") else fidelity.rank_threshold,
        batch_size=generation.batch_size,
        start_vouches=fidelity.start_vouches,
        lengths=lengths_of(generation, longest=longest),
    )


def lengths_of(generation: GenerationConfig, *, longest: int) -> int:
    """How many rows a trial may leave; `longest` is that of the sequences."""
    return 1 if generation.keep == "trial" else max(longest, generation.max_length or 0, 2) - 1


def cluster_count(fidelity: FidelityConfig, item_count: int) -> int:
    """C: as many as were asked for, or 4 sqrt(V), and then no more than items."""
    return fidelity.clusters or min(item_count, max(1, round(4 * math.sqrt(item_count))))


def _check_clusters(fidelity: FidelityConfig, item_count: int) -> None:
    clusters = cluster_count(fidelity, item_count)
    if clusters > item_count:
        raise ConfigError(
            f"fidelity.clusters={clusters} is more than the catalogue has items, {item_count}: leave it out, or set "
            f"1..{item_count}"
        )
    # Under auto, more probed than there are mean that nothing would be left out: it stays exact, and says so.
    if fidelity.mode == "clustered" and fidelity.nprobe > clusters:
        raise ConfigError(
            f"fidelity.nprobe={fidelity.nprobe} is above the number of clusters, {clusters}: set 1..{clusters}, "
            "raise fidelity.clusters, or set fidelity.mode=exact"
        )


def rules_of(config: Config, dataset: PreparedDataset) -> Rules:
    """Resolve a run's rules of a trial on its dataset. Raises ConfigError."""
    meta = dataset.meta
    return resolve_rules(
        config.generation,
        config.fidelity,
        item_count=meta.items,
        repeat_share=meta.repeat_share,
        longest=meta.max_length,
    )


def cut_sources(sources: Sequences, rules: Rules) -> Sequences:
    """Leave out the items at each source's end that the reading does not use."""
    cut = rules.source_items_left_out
    if cut == 0:
        return sources
    kept = np.maximum(sources.lengths - cut, 0)
    within = np.arange(len(sources.items)) - np.repeat(sources.offsets[:-1], sources.lengths)
    items = sources.items[within < np.repeat(kept, sources.lengths)]
    return Sequences(ids=sources.ids, offsets=offsets_of(kept), items=items)
