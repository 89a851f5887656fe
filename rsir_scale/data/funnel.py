"""What became of a log's rows, step by step, as `dataset.json` keeps it and an import prints it.

Comes in: counts. Goes out: `Funnel`, whose steps add up: rows read = kept + everything that was left out, each with its
reason. Nothing is dropped that no step names.
"""

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Funnel(BaseModel):
    """Rows read, left out by reason, and kept."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    read: int = Field(ge=0, description="rows of the files")
    dropped: dict[str, int] = Field(description="rows that were no interaction, by reason")
    filtered: int = Field(ge=0, description="rows that --where left out")
    duplicates: int = Field(ge=0, description="rows that --duplicates left out")
    below_core: int = Field(ge=0, description="interactions of users and items below the k-core")
    unused: int = Field(ge=0, description="interactions that the split neither trains on nor holds out")
    cut: int = Field(ge=0, description="older interactions than --max-length keeps")
    kept: int = Field(ge=0, description="interactions of the dataset, held-out ones included")
    tied_users: int = Field(ge=0, description="users with equal times among their last three: the file's order decides")
    times: str | None = Field(default=None, description="first and last time of the log, and their unit")

    @model_validator(mode="after")
    def _adds_up(self) -> "Funnel":
        left = self.filtered + self.duplicates + self.below_core + self.unused + self.cut + sum(self.dropped.values())
        if self.read != self.kept + left:
            raise ValueError(f"{self.read} rows were read, and its steps account for {self.kept + left}")
        return self

    def steps(self) -> list[dict[str, object]]:
        """The steps in order, those that left nothing out only where one expects them."""
        lines: list[tuple[str, int, str]] = [("read", self.read, "rows of the log")]
        lines += [("dropped", -count, reason) for reason, count in self.dropped.items()]
        lines += [
            (step, -count, why)
            for step, count, why in (
                ("filtered", self.filtered, "--where does not hold"),
                ("duplicates", self.duplicates, "--duplicates"),
            )
            if count
        ]
        lines.append(("k-core", -self.below_core, "users or items with too few interactions"))
        if self.unused:
            lines.append(("split", -self.unused, "neither trained on nor held out"))
        lines += [("cut", -self.cut, "older than the latest that are kept"), ("kept", self.kept, "interactions")]
        return [{"step": step, "rows": count, "why": why} for step, count, why in lines]
