"""What the words of a page mean, for those who have not read the paper."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

TERMS: Mapping[str, str] = MappingProxyType(
    {
        "iteration": "One round of the recursion: theta_k is trained on D_k and evaluated, then it writes sequences. "
        "Iteration 0 is the base, trained on the real sequences alone.",
        "theta_k, D_k": "The model of iteration k, and the data that it is trained on: the real sequences and all "
        "that earlier iterations wrote.",
        "validation, test": "Each user's last item but one, and last item. Models are chosen on validation; test "
        "is for the verdict alone.",
        "NDCG@n": "1 / log2(1 + rank) of the held-out item where it is among the best n of the whole catalogue, else "
        "0; the mean over users.",
        "Recall@n": "The share of users whose held-out item is among the best n.",
        "interval [low, high]": "A 95 % interval. A difference is shown where it excludes 0. In a run it is over users "
        "alone, in a study over seeds and users.",
        "source, trial": "The sequence that a synthetic one starts from, and one attempt to write from it.",
        "acceptance": "The share of checked steps that passed the fidelity check: true, of the item that comes next in "
        "the source; own, of any item of the source; other, of items that are not in it.",
        "novel share": "The share of accepted steps whose item is not in the source.",
        "stop": "Why a trial left no sequence: fidelity, a step was rejected; copy, it repeats its source; too short; "
        "length, complete and exhausted: it reached its end.",
        "duplicates dropped": "Written sequences that repeat one of D_k or one another; one of them is kept.",
        "vouched for": "The fidelity check asks whether an item that is still to come in the source ranks high after "
        "the step. That item vouches for the step; beside it stands how many items scored higher.",
        "density growth": "Training pairs of D_k over those of D_0, less 1.",
        "ApEn": "Approximate entropy of single sequences, in nats, window 2 (the paper's figure). Where nothing "
        "repeats within a sequence it depends on its length alone; the excess is 0 then.",
        "corpus entropy": "Entropy of an item given the two before it, over all sequences, in nats, on as many windows "
        "as D_0 has. Lower is easier to predict.",
        "segments": "Thirds of the users by length of their training sequence, and by how often their test item occurs "
        "in training. Many groups were looked at: read them as a description.",
        "target/new": "Users whose test item occurs in no training sequence.",
        "base": "The model of the base config, trained on the real sequences alone.",
        "p (Holm)": "A p-value corrected for the number of arms and datasets that were tried. Controls are not "
        "corrected.",
        "detectable": "The smallest true difference that such a study shows four times in five.",
        "longer": "A control: the base with as many updates as the arm and all that it fitted.",
        "aa": "A control: the base under another seed, a difference without any cause.",
        "price": "Updates or seconds of an arm over those of the base.",
        "digest": "SHA-256 over the content of all that was written. Equal digests mean equal sequences.",
    }
)


def glossary(terms: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The entries for some terms, in their order. Raises KeyError: a term is not in the glossary."""
    return tuple((term, TERMS[term]) for term in terms)
