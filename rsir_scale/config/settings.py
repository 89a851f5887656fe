"""The settings of a run: frozen sections, their defaults, and what they must keep to.

A `Config` leaves nothing to choose. Two keys are presets that fill the defaults of other keys (`config.file`):
`training.preset` and `generation.reading`. Defaults live here and in `config.fitting`; YAML files state what differs,
and why.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from rsir_scale.config.augmenters import known_augmenter
from rsir_scale.config.effect import effective_settings, fingerprint_of
from rsir_scale.config.fitting import (
    ModelConfig,
    NotBool,
    Positive,
    PositiveInt,
    Probability,
    Section,
    Size,
    TrainingConfig,
)

__all__ = [
    "CUTOFFS",
    "Config",
    "DataConfig",
    "EvaluationConfig",
    "FidelityConfig",
    "GenerationConfig",
    "LoopConfig",
    "ModelConfig",
    "RunConfig",
    "TrainingConfig",
    "WritingConfig",
]


CUTOFFS = (10, 20)  # the n of the metrics, such as Recall@n, unless others are set


class DataConfig(Section):
    """Where the prepared dataset lies, and how much of a sequence the model reads."""

    path: str = Field(description="folder of a prepared dataset, as `rsir data import` writes it")
    max_length: Size = Field(default=50, description="items of context that the model reads (the latest ones)")


class WritingConfig(Section):
    """Writing new sequences, whichever augmenter writes them."""

    augmenter: str = Field(
        default="rsir",
        description="how sequences are written: rsir (the paper's), another built-in one, or a class of yours, "
        "package.module:Class; options of its own stand in the section augmenter",
    )
    trials_per_sequence: PositiveInt = Field(default=5, description="m: attempts for each source sequence")
    sources: Literal["all", "real"] = Field(default="all", description="generate from D_k or from D_0 only")
    actors: PositiveInt = Field(default=1, description="Ray actors that generate; changes no result")
    use_gpu: bool = Field(default=False, description="one GPU for each actor")
    batch_size: PositiveInt = Field(default=2048, description="(sequence, trial) rows decoded together")
    shard_sources: PositiveInt = Field(default=4096, description="source sequences of a shard, the unit of commit")

    @field_validator("augmenter")
    @classmethod
    def _augmenter_is_known(cls, value: str) -> str:
        return known_augmenter(value)


class GenerationConfig(WritingConfig):
    """Writing new sequences; what follows the common settings is rsir's (paper Sec. 3.2), but for the teacher."""

    reading: Literal["paper", "released"] = Field(default="paper", description="Algorithm 1, or the authors' code")
    start: Literal["first", "prefix"] = Field(default="prefix", description="context begins as first item or prefix")
    choice: Literal["sample", "greedy"] = Field(default="sample", description="how the pool's item is chosen")
    top_candidates: PositiveInt = Field(default=50, description="best items of the pool that sampling may choose from")
    temperature: Positive = Field(default=1.0, description="divides scores before the softmax")
    exploit_prob: Probability = Field(default=0.5, description="p: probability that the pool is the user's own items")
    min_length: PositiveInt = Field(default=2, description="shortest synthetic sequence kept, in items")
    max_length: Size | None = Field(default=None, description="longest context; none: the source's own length")
    keep: Literal["trial", "prefixes"] = Field(
        default="trial",
        description="what a trial leaves: its last context, or one row for each step that passed (Algorithm 1 adds "
        "inside its loop)",
    )
    allow_repeats: Literal["auto", "true", "false"] = Field(
        default="auto", description="may an item be chosen twice; auto: where a tenth of the interactions repeat"
    )
    teacher: str | None = Field(
        default=None,
        description="another run's directory, RUN or RUN@ITERATION (else its best by validation): its model writes the "
        "sequences of every iteration; the run keeps a copy and is resumed with the same weights only",
    )

    @model_validator(mode="after")
    def _something_can_be_kept(self) -> "GenerationConfig":
        least = max(2, self.min_length)
        if self.max_length is not None and self.max_length < least:
            raise ValueError(
                f"generation.max_length={self.max_length} is less than the shortest sequence that is kept, {least} "
                "items (generation.min_length): no trial could leave one; raise it"
            )
        return self

    @field_validator("allow_repeats", mode="before")
    @classmethod
    def _yaml_reads_true_as_boolean(cls, value: Any) -> Any:
        return str(value).lower() if isinstance(value, bool) else value


class FidelityConfig(Section):
    """The check that bounds exploration (paper Eq. 1)."""

    mode: Literal["exact", "clustered", "auto", "off", "random"] = Field(
        default="exact",
        description="clustered looks at the nearest clusters only (paper Sec. D.5); auto times both on a sample and "
        "records its choice; off accepts everything (paper Table 2); random, a control, tosses a coin that accepts as "
        "often as the exact check does on a sample",
    )
    rank_threshold: PositiveInt = Field(default=5, description="tau: worst rank that still vouches for a step")
    remaining: Literal["before_choice", "after_choice"] = Field(
        default="before_choice", description="does an own item just chosen still count in its own check"
    )
    start_vouches: bool = Field(
        default=False,
        description="may the items that a trial starts with vouch, too (Algorithm 1: S_tgt = s_u); else only those "
        "that are not in the context (Sec. 3.2)",
    )
    clusters: PositiveInt | None = Field(default=None, description="of the catalogue; none: 4 sqrt(items)")
    nprobe: PositiveInt = Field(default=32, description="clusters looked at for a row, the nearest ones")
    semantics: Literal["count", "membership"] = Field(
        default="count",
        description="clustered: an own item is ranked among the probed items wherever it lies itself, which never "
        "fails a row that the exact check passes; or vouches only from a probed cluster, the paper's words",
    )
    scan: Literal["auto", "compiled", "torch", "faiss"] = Field(
        default="auto", description="what scans the items; changes no result (faiss: clusters only)"
    )

    @field_validator("mode", mode="before")
    @classmethod
    def _yaml_reads_off_as_boolean(cls, value: Any) -> Any:
        return "off" if value is False else value


class LoopConfig(Section):
    """The recursion."""

    iterations: Annotated[int, NotBool, Field(ge=0, le=10_000)] = Field(
        default=1, description="K: trains theta_0..theta_K"
    )
    patience: PositiveInt | None = Field(
        default=None, description="iterations without a better validation NDCG@20 before stopping early; none: never"
    )
    variant: Literal["retrain", "finetune"] = Field(default="retrain", description="finetune is the paper's RSIR-FT")


class RunConfig(Section):
    """How much a run puts up with."""

    max_error_rate: Probability = Field(
        default=0.01,
        description="share of a shard's sources, rounded up, that are set aside with their reason when they fail "
        "whatever is tried; where more fail, the run stops, resumable",
    )
    shard_timeout_s: Positive = Field(
        default=600.0,
        description="seconds that a shard may take when its generation is tried again, a process apart, after actors "
        "died or stood still (for as long, and for 15 minutes at least); fewer sources have less, in proportion",
    )


class EvaluationConfig(Section):
    """Ranking the held-out items over the full catalogue."""

    mask_history: bool = Field(
        default=True, description="items of the context cannot be recommended; a held-out item among them comes last"
    )
    metrics: tuple[str, ...] = Field(
        default=("NDCG", "Recall", "Precision", "F1", "MRR"),
        min_length=1,
        description="what is recorded of the ranks, at each of the cutoffs: NDCG, Recall, Precision, F1, MRR, HitRate, "
        "MAP; validation NDCG@20, by which a run is judged, always is",
    )
    cutoffs: tuple[PositiveInt, ...] = Field(
        default=CUTOFFS, min_length=1, description="the n of NDCG@n; above 20 it must be below the catalogue"
    )
    rank_cap: PositiveInt | None = Field(
        default=1000,
        description="greatest rank that is told apart: those beyond it are kept as one more; none, or 0: every rank, "
        "which takes many times as long where there are many items; changes no metric",
    )

    @property
    def largest_cutoff(self) -> int:
        """The greatest rank that a recorded metric counts, that by which a run is judged among them."""
        return max(*self.cutoffs, *CUTOFFS)

    @field_validator("rank_cap", mode="before")
    @classmethod
    def _zero_is_none(cls, value: Any) -> Any:
        return None if value == 0 and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _cap_reaches_all_cutoffs(self) -> "EvaluationConfig":
        largest = self.largest_cutoff
        if self.rank_cap is not None and self.rank_cap < largest:
            raise ValueError(
                f"evaluation.rank_cap={self.rank_cap} is below {largest}, the largest cutoff of the metrics, which "
                f"could not be told: set it to {largest} or more, or to null for full ranks"
            )
        return self


TEACHER, TRIALS = "generation.teacher", "generation.trials_per_sequence"
# By full name, settings that some augmenters read and others do not.
READ_BY_SOME = frozenset(
    {TRIALS}
    | {f"generation.{key}" for key in GenerationConfig.model_fields.keys() - WritingConfig.model_fields.keys()}
    | {f"fidelity.{key}" for key in FidelityConfig.model_fields}
)


class Config(Section):
    """All settings of a run, resolved."""

    data: DataConfig
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    generation: GenerationConfig = GenerationConfig()
    augmenter: dict[str, JsonValue] = Field(
        default={}, description="options of the augmenter that generation.augmenter names"
    )
    fidelity: FidelityConfig = FidelityConfig()
    loop: LoopConfig = LoopConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    run: RunConfig = RunConfig()
    seed: Annotated[int, NotBool, Field(ge=0, lt=2**63)] = Field(
        default=2023, description="with an identity, the key of every random draw"
    )

    @model_validator(mode="after")
    def _faiss_scans_clusters(self) -> "Config":
        if self.fidelity.scan == "faiss" and self.fidelity.mode not in ("clustered", "auto"):
            raise ValueError(
                f"fidelity.scan=faiss scans clusters, and fidelity.mode={self.fidelity.mode} has none: set "
                "fidelity.mode=clustered, or leave the scan out"
            )
        if self.fidelity.scan == "compiled" and self.generation.use_gpu:
            raise ValueError(
                "fidelity.scan=compiled runs on a CPU, and generation.use_gpu=true: leave one of the two out"
            )
        return self

    @model_validator(mode="after")
    def _sparse_updates_need_rows_of_items(self) -> "Config":
        if self.training.item_updates == "sparse" and self.model.backbone == "semantic_id":
            raise ValueError(
                "training.item_updates=sparse changes the rows of single items, and model.backbone=semantic_id has "
                "none: leave item_updates out"
            )
        return self

    @model_validator(mode="after")
    def _released_checks_no_choice(self) -> "Config":
        if self.generation.reading == "released" and (self.fidelity.start_vouches or self.generation.keep != "trial"):
            raise ValueError(
                f"fidelity.start_vouches={str(self.fidelity.start_vouches).lower()} and generation.keep="
                f"{self.generation.keep} are readings of Algorithm 1: leave them out, or set generation.reading=paper"
            )
        if self.generation.reading == "released" and self.fidelity.remaining == "before_choice":
            raise ValueError(
                "fidelity.remaining=before_choice has no meaning under generation.reading=released, which checks "
                "before it chooses: leave it out, or set generation.reading=paper"
            )
        return self

    def fingerprint(self) -> str:
        """SHA-256 of the settings that can change a result; the keys of `NO_EFFECT` are left out."""
        return fingerprint_of(effective_settings(self))
