"""Counts of checks by what was judged: the true next item, another own item, or an item new to the user.

How often each kind passes tells what the check is worth (the paper's leakage); the counts add up over shards.
"""

from dataclasses import asdict, dataclass, fields

from torch import Tensor

from rsir_scale.augmenters.rsir.state import DecodingRows


@dataclass(frozen=True)
class Tally:
    """How many were checked and how many passed.

    Attributes:
        steps, accepted_steps: all checks.
        chosen_own, accepted_own: the context's last item, generated, stands in the source.
        chosen_other, accepted_other: it does not.
        chosen_true, accepted_true: it is the very item that follows in the source (a part of own).
        unfailing_steps: checks that saw fewer items than the threshold, so that any voucher passed them.
    """

    steps: int = 0
    accepted_steps: int = 0
    chosen_own: int = 0
    accepted_own: int = 0
    chosen_other: int = 0
    accepted_other: int = 0
    chosen_true: int = 0
    accepted_true: int = 0
    unfailing_steps: int = 0

    def plus(self, other: "Tally") -> "Tally":
        """Add two tallies."""
        return Tally(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def as_counts(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)


def tally_checks(rows: DecodingRows, judged_B: Tensor, passed_B: Tensor, unfailing_B: Tensor) -> Tally:
    """Count one step's checks, before their outcome changes the rows."""
    last_B1 = rows.last_item()[:, None]
    generated_B = judged_B & (rows.length_B > rows.start_B)
    own_B = generated_B & (rows.own_BR == last_B1).any(1)
    other_B = generated_B & ~own_B
    follows_B = rows.source_BL.gather(1, (rows.length_B - 1)[:, None]) == last_B1
    true_B = own_B & rows.faithful_B & follows_B[:, 0]
    groups = [group_B for kind_B in (judged_B, own_B, other_B, true_B) for group_B in (kind_B, kind_B & passed_B)]
    return Tally(*(int(group_B.sum()) for group_B in [*groups, judged_B & unfailing_B]))
