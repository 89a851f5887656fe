"""The best iteration is the first of those with the highest validation score."""

from hypothesis import given
from hypothesis import strategies as st

from rsir_scale.runs.manifest import Manifest, ModelLink
from rsir_scale.runs.selection import SELECTION_METRIC, best_iteration


@given(scores=st.lists(st.none() | st.sampled_from([0.1, 0.2, 0.3]), max_size=6))
def test_the_best_iteration_is_the_earliest_of_the_highest_and_none_where_nothing_was_scored(
    scores: list[float | None],
) -> None:
    manifests = [
        Manifest(
            ModelLink.model_construct(iteration=number, metrics={} if score is None else {SELECTION_METRIC: score})
        )
        for number, score in enumerate(scores)
    ]
    known = [score for score in scores if score is not None]
    assert best_iteration(manifests) == (scores.index(max(known)) if known else None)
