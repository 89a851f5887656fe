"""The settings of a run: frozen sections, their defaults, and the fingerprint that decides whether a run may resume.

Comes in: a YAML mapping and `section.key=value` overrides. Goes out: one resolved `Config`, in which nothing is left
to choose. Two keys are presets that fill the defaults of other keys: `training.preset` and `generation.reading`; what
the user wrote always wins over a preset. Defaults live here only; YAML files state what differs, and why.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from rsir_scale.errors import ConfigError

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A frozen group of settings that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class DataConfig(Section):
    """Where the prepared dataset lies, and how much of a sequence the model reads."""

    path: str = Field(description="folder of a prepared dataset, as `rsir data import` writes it")
    max_length: PositiveInt = Field(default=50, description="items of context that the model reads (the latest ones)")


class ModelConfig(Section):
    """The backbone: context → query vector."""

    backbone: Literal["sasrec"] = Field(default="sasrec", description="which encoder reads the context")
    width: PositiveInt = Field(default=64, description="dimension of item and query vectors")
    blocks: PositiveInt = Field(default=2, description="Transformer blocks")
    heads: PositiveInt = Field(default=2, description="attention heads; must divide width")
    feed_forward: PositiveInt = Field(default=128, description="hidden width of the feed-forward layer")
    norm: Literal["post", "pre"] = Field(
        default="post", description="layer norm after or before each sub-layer; pre adds a final norm"
    )
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(default=0.5, description="share of activations zeroed")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "ModelConfig":
        if self.width % self.heads:
            raise ValueError(f"model.heads={self.heads} does not divide model.width={self.width}: choose one that does")
        return self


class TrainingConfig(Section):
    """Fitting one backbone. An epoch of the budget is a pass over D_0, in every iteration: budgets are in updates."""

    preset: Literal["paper", "strong"] = Field(default="paper", description="fills defaults of model and training")
    loss: Literal["sampled_softmax", "cross_entropy"] = Field(
        default="sampled_softmax", description="softmax over sampled negatives, or over the whole catalogue"
    )
    negatives: PositiveInt = Field(default=512, description="uniform negatives shared by a batch (sampled softmax)")
    logq_correction: bool = Field(
        default=False, description="weigh each negative by the items it stands for: sampled softmax then estimates full"
    )
    batch_size: PositiveInt = Field(default=256, description="sequences per optimiser update, over all workers")
    learning_rate: Annotated[float, Field(gt=0.0)] = Field(default=1e-3, description="of Adam")
    weight_decay: Annotated[float, Field(ge=0.0)] = Field(default=0.0, description="L2 penalty of Adam")
    max_epochs: PositiveInt = Field(default=1000, description="budget, in passes over D_0")
    patience: PositiveInt = Field(default=20, description="passes over D_0 without a better validation NDCG@20")
    workers: PositiveInt = Field(default=1, description="data-parallel Ray Train workers")
    threads: PositiveInt = Field(default=1, description="CPU threads of each worker")
    use_gpu: bool = Field(default=False, description="one GPU for each worker")
    synthetic_weight: Annotated[float, Field(gt=0.0)] = Field(
        default=1.0, description="weight of synthetic sequences in the loss (lambda of Eq. 3); real ones have 1"
    )


class GenerationConfig(Section):
    """Writing new sequences (paper Sec. 3.2)."""

    reading: Literal["paper", "released"] = Field(default="paper", description="Algorithm 1, or the authors' code")
    start: Literal["first", "prefix"] = Field(default="prefix", description="context begins as first item or prefix")
    choice: Literal["sample", "greedy"] = Field(default="sample", description="how the pool's item is chosen")
    top_candidates: PositiveInt = Field(default=50, description="best items of the pool that sampling may choose from")
    temperature: Annotated[float, Field(gt=0.0)] = Field(default=1.0, description="divides scores before the softmax")
    exploit_prob: Probability = Field(default=0.5, description="p: probability that the pool is the user's own items")
    trials_per_sequence: PositiveInt = Field(default=5, description="m: attempts for each source sequence")
    sources: Literal["all", "real"] = Field(default="all", description="generate from D_k or from D_0 only")
    min_length: PositiveInt = Field(default=2, description="shortest synthetic sequence kept, in items")
    max_length: PositiveInt | None = Field(default=None, description="longest context; none: the source's own length")
    allow_repeats: Literal["auto", "true", "false"] = Field(
        default="auto", description="may an item be chosen twice; auto: where a tenth of the interactions repeat"
    )
    actors: PositiveInt = Field(default=1, description="Ray actors that generate; changes no result")
    use_gpu: bool = Field(default=False, description="one GPU for each actor")
    batch_size: PositiveInt = Field(default=1024, description="(sequence, trial) rows decoded together")
    shard_sources: PositiveInt = Field(default=4096, description="source sequences of a shard, the unit of commit")

    @field_validator("allow_repeats", mode="before")
    @classmethod
    def _yaml_reads_true_as_boolean(cls, value: Any) -> Any:
        return str(value).lower() if isinstance(value, bool) else value


class FidelityConfig(Section):
    """The check that bounds exploration (paper Eq. 1)."""

    mode: Literal["exact", "off"] = Field(default="exact", description="off accepts everything (paper Table 2)")
    rank_threshold: PositiveInt = Field(default=5, description="tau: worst rank that still vouches for a step")
    remaining: Literal["before_choice", "after_choice"] = Field(
        default="before_choice", description="does an own item just chosen still count in its own check"
    )

    @field_validator("mode", mode="before")
    @classmethod
    def _yaml_reads_off_as_boolean(cls, value: Any) -> Any:
        return "off" if value is False else value


class LoopConfig(Section):
    """The recursion."""

    iterations: Annotated[int, Field(ge=0)] = Field(default=1, description="K: trains theta_0..theta_K")
    patience: PositiveInt | None = Field(
        default=None, description="iterations without a better validation NDCG@20 before stopping early; none: never"
    )
    variant: Literal["retrain", "finetune"] = Field(default="retrain", description="finetune is the paper's RSIR-FT")


class EvaluationConfig(Section):
    """Ranking the held-out items over the full catalogue."""

    mask_history: bool = Field(default=True, description="items of the context cannot be recommended")


class Config(Section):
    """All settings of a run, resolved."""

    data: DataConfig
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    generation: GenerationConfig = GenerationConfig()
    fidelity: FidelityConfig = FidelityConfig()
    loop: LoopConfig = LoopConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    seed: int = Field(default=2023, ge=0, lt=2**63, description="with an identity, the key of every random draw")

    @model_validator(mode="after")
    def _released_checks_no_choice(self) -> "Config":
        if self.generation.reading == "released" and self.fidelity.remaining == "before_choice":
            raise ValueError(
                "fidelity.remaining=before_choice has no meaning under generation.reading=released, which checks "
                "before it chooses: leave it out, or set generation.reading=paper"
            )
        return self

    def fingerprint(self) -> str:
        """SHA-256 of the settings that can change a result; the keys of `NO_EFFECT` are left out."""
        return hashlib.sha256(json.dumps(effective_settings(self), sort_keys=True).encode()).hexdigest()


NO_EFFECT = frozenset(
    {"data.path", "loop.iterations", "loop.patience", "generation.actors"}
    # Presets are spelled out in the keys they fill.
    | {"training.preset"}
)

_TRAINING_PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {},
    "strong": {
        "model": {"norm": "pre", "dropout": 0.6, "feed_forward": 256},
        "training": {"negatives": 4096, "logq_correction": True},
    },
}
_READINGS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {},
    "released": {
        "generation": {"start": "first", "choice": "greedy", "min_length": 3, "max_length": 50},
        "fidelity": {"remaining": "after_choice"},
    },
}


def effective_settings(config: Config) -> dict[str, Any]:
    """Flatten a config to `section.key: value`, without the keys that change no result."""
    return {key: value for key, value in flatten(config.model_dump(mode="json")).items() if key not in NO_EFFECT}


def deviations(config: Config) -> tuple[str, ...]:
    """Keys whose value is not the default that the config's presets give: what a user must have chosen."""
    presets = {"preset": config.training.preset}, {"reading": config.generation.reading}
    raw = {"data": {"path": config.data.path}, "training": presets[0], "generation": presets[1]}
    defaults, chosen = effective_settings(resolve(raw)), effective_settings(config)
    return tuple(key for key in sorted(chosen) if chosen[key] != defaults.get(key))


def flatten(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested mappings into one with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, apply `section.key=value` overrides and resolve the presets.

    Raises:
        ConfigError: the file is missing or no mapping, a key is unknown, or a value breaks its rule.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {path} cannot be read ({error}): name an existing YAML file") from error
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"config {path} is not YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(
            f"config {path} holds {type(raw).__name__}, not sections: write `data: {{path: …}}` and so on"
        )
    return resolve(apply_overrides(raw, overrides))


def apply_overrides(raw: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return `raw` with each `section.key=value` set; values are read as YAML scalars."""
    result: dict[str, Any] = {key: dict(value) if isinstance(value, dict) else value for key, value in raw.items()}
    for override in overrides:
        name, equals, value = override.partition("=")
        section, dot, key = name.strip().partition(".")
        if not equals or "." in key or (dot and not key):
            raise ConfigError(f"--set {override!r} is not section.key=value: write for example --set seed=7")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {override!r}: the value is not YAML ({error})") from error
        if not dot:
            result[section] = parsed
        else:
            if result.get(section) is None:
                result[section] = {}
            target = result[section]
            if not isinstance(target, dict):
                raise ConfigError(f"--set {override!r}: {section} is a value, not a section")
            target[key] = parsed
    return result


def resolve(raw: Mapping[str, Any]) -> Config:
    """Fill the presets' defaults beneath the explicit keys and validate everything.

    Raises:
        ConfigError: one line for each fault, with the key, the value and the rule.
    """
    # A section of which YAML holds the name only is None: all its defaults.
    merged = {
        key: dict(value) if isinstance(value, Mapping) else value for key, value in raw.items() if value is not None
    }
    _fill(merged, _TRAINING_PRESETS, _chosen(raw, "training", "preset", "paper"))
    _fill(merged, _READINGS, _chosen(raw, "generation", "reading", "paper"))
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError("\n".join(_fault(fault) for fault in error.errors())) from error


def _chosen(raw: Mapping[str, Any], section: str, key: str, default: str) -> str:
    values = raw.get(section)
    return str(values.get(key, default)) if isinstance(values, Mapping) else default


def _fill(merged: dict[str, Any], presets: Mapping[str, Any], name: str) -> None:
    for section, defaults in presets.get(name, {}).items():
        explicit = merged.get(section) or {}
        if isinstance(explicit, Mapping):
            merged[section] = {**defaults, **explicit}


def _fault(fault: Any) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{key} is no setting: see the sections and keys in docs/configuration.md, or `rsir plan --help`"
    if fault["type"] == "missing":
        return f"{key} is missing: set it in the config or with --set {key}=…"
    if fault["type"] == "value_error":
        return str(fault["msg"]).removeprefix("Value error, ")
    return f"{key}={fault['input']!r}: {fault['msg']}"
