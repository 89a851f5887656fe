"""The top-n lists of a run's model for the test users, described at one length or several.

Comes in: a run, an iteration, and the users with a test item. Goes out: the figures of `lists` by name and length. The
longest lists are found once; a shorter list is the beginning of a longer one.
"""

from collections.abc import Sequence

from rsir_scale.analysis.lists import describe, lists_of
from rsir_scale.evaluation.evaluate import EvaluationSet
from rsir_scale.models.repository import load_trained
from rsir_scale.outputs.recommend import LoadedModel
from rsir_scale.runs.run import Run


def describe_model(run: Run, iteration: int, users: EvaluationSet, tops: Sequence[int]) -> dict[str, float]:
    """Describe the lists of theta_k.

    Args:
        run: which has that iteration.
        iteration: k.
        users: whom to give lists; their targets count for serendipity.
        tops: lengths, one or more, 1..V each.

    Raises:
        InputError: a length is out of range.
        IntegrityError: the weights are damaged.
    """
    dataset = run.dataset
    model = LoadedModel(load_trained(run, iteration), dataset.item_ids(), run.config.evaluation.mask_history)
    item_NP, _ = model.rank(users.contexts, max(tops))
    whole = lists_of(item_NP, users.targets, dataset.training_sequences(), item_count=dataset.meta.items)
    return {name: value for top in tops for name, value in describe(whole.first(top)).items()}
