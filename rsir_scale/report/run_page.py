"""The page of a run: `rsir report RUN --html FILE`.

Comes in: a run's store, and a file of titles. Goes out: a `blocks.Page`: the verdict on top, for readers of one
sentence; then accuracy, fits, what was written, for whom it helps, examples, time, and where all of it comes from.
"""

from pathlib import Path

from rsir_scale.analysis.verdict import GAIN, LOSS, NO_CONTROL, Verdict
from rsir_scale.report.accuracy import accuracy, curves, segments
from rsir_scale.report.blocks import Claim, Page, Tone
from rsir_scale.report.examples import examples
from rsir_scale.report.finished import finished_run
from rsir_scale.report.origin import origin, time_taken
from rsir_scale.report.titles import read_titles
from rsir_scale.report.writing import data, written
from rsir_scale.storage.base import Store

_TONES: dict[str, Tone] = {GAIN: "good", LOSS: "bad"}
_TERMS = (
    "iteration",
    "theta_k, D_k",
    "validation, test",
    "NDCG@n",
    "Recall@n",
    "interval [low, high]",
    "source, trial",
    "acceptance",
    "novel share",
    "stop",
    "duplicates dropped",
    "vouched for",
    "density growth",
    "ApEn",
    "corpus entropy",
    "segments",
    "target/new",
    "digest",
)


def run_page(store: Store, titles: Path | None = None) -> Page:
    """Describe a run.

    Args:
        store: of the run.
        titles: a file of `item_id` and `title`; None: items are shown by their ids.

    Raises:
        InputError: there is no run, it has finished nothing, its dataset is gone, or the titles cannot be used.
        IntegrityError: a file of the run or of its dataset is damaged.
    """
    finished = finished_run(store)
    meta, config = finished.run.dataset.meta, finished.run.config
    ids = frozenset(str(item) for item in finished.run.dataset.item_ids()) if titles is not None else frozenset()
    names = {} if titles is None else read_titles(titles, ids)
    return Page(
        title=f"Run {Path(store.root).name}",
        subtitle=(
            f"{config.model.backbone} on {Path(finished.run.dataset.path).name}: {meta.users:,} users, {meta.items:,} "
            f"items; {len(finished.manifests)} iterations, written by {config.generation.augmenter}; {store.root}"
        ),
        claims=claims(finished.verdict),
        sections=(
            accuracy(finished),
            curves(finished),
            written(finished),
            data(finished),
            segments(finished),
            examples(finished, names),
            time_taken(finished),
            origin(finished),
        ),
        terms=_TERMS,
    )


def claims(verdict: Verdict) -> tuple[Claim, ...]:
    """The sentences of a verdict, each with its tone."""
    compared = [_TONES.get(each.word, "open") for each in verdict.compared]
    return tuple(
        Claim(text, compared[place] if place < len(compared) else "warning" if text == NO_CONTROL else "open")
        for place, text in enumerate(verdict.sentences)
    )
