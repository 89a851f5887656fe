"""The paper's bound on the error of theta_{k+1}, turned round: what it says of a run whose errors are known.

Comes in: errors of three models, and what the data between them are made of. Goes out: the contraction rho (Eq. 16 as
an equality, solved for it), the breakdown point of the leakage (Eq. 17) and the error at which the recursion rests
(Eq. 18). rho of a step is known after it. So the breakdown point of a step foretells something only with the rho of an
earlier one; with its own it is met exactly where the error fell, by construction.

Source: paper Sec. 4.2 and App. E.2.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """From theta_k to theta_{k+1}.

    Attributes:
        share: lambda, the share of generated pairs in D_{k+1}, above 0.
        leakage: p_k, the share of generated items that are noise, below 1.
        error: of theta_k, above 0.
        base_error: E_0, of theta_0.
        worst_error: E_max, of a model that knows nothing.
    """

    share: float
    leakage: float
    error: float
    base_error: float
    worst_error: float

    def contraction(self, next_error: float) -> float | None:
        """Return rho from the error that theta_{k+1} has (Eq. 16); None where no generated item is valid."""
        valid = self.share * (1.0 - self.leakage) * self.error
        if valid <= 0.0:
            return None
        rest = (1.0 - self.share) * self.base_error + self.share * self.leakage * self.worst_error
        return (next_error - rest) / valid

    def next_error(self, contraction: float) -> float:
        """Return the bound on the error of theta_{k+1} (Eq. 16)."""
        generated = (1.0 - self.leakage) * contraction * self.error + self.leakage * self.worst_error
        return (1.0 - self.share) * self.base_error + self.share * generated

    def breakdown(self, contraction: float) -> float | None:
        """Return the leakage below which the error falls (Eq. 17); None where noise is no worse than valid items.

        May be negative: then no leakage is small enough.
        """
        worse = self.share * (self.worst_error - contraction * self.error)
        if worse <= 0.0:
            return None
        return (self.error * (1.0 - self.share * contraction) - (1.0 - self.share) * self.base_error) / worse

    def limit(self, contraction: float) -> float | None:
        """Return the error at which the recursion rests without leakage (Eq. 18); None where it has no rest."""
        left = 1.0 - self.share * contraction
        return (1.0 - self.share) * self.base_error / left if left > 0.0 else None
