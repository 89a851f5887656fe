"""Settings of what is fitted and how it is fitted: the sections `model` and `training`."""

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from rsir_scale.errors import shown

BackboneName = Literal["sasrec", "cl4srec", "hstu", "semantic_id"]
_PLUGIN = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def _refuse_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"a number is wanted, not {value}")
    return value


NotBool = BeforeValidator(_refuse_truth_value)
Probability = Annotated[float, NotBool, Field(ge=0.0, le=1.0)]
# Reals, and never true for 1.
Positive = Annotated[float, NotBool, Field(gt=0.0)]
NotNegative = Annotated[float, NotBool, Field(ge=0.0)]
PositiveShare = Annotated[float, NotBool, Field(gt=0.0, le=1.0)]
ShareBelowOne = Annotated[float, NotBool, Field(ge=0.0, lt=1.0)]
# Counts fit 32 bits, and what a model allocates at once fits some machine.
PositiveInt = Annotated[int, NotBool, Field(ge=1, lt=2**31)]
Size = Annotated[int, NotBool, Field(ge=1, le=2**16)]


class Section(BaseModel):
    """A frozen group of settings that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class ModelConfig(Section):
    """The backbone: context → query vector."""

    backbone: BackboneName | str = Field(
        default="sasrec", description="which encoder reads the context; or a class of yours, package.module:Class"
    )
    width: Size = Field(default=64, description="dimension of item and query vectors")
    blocks: Size = Field(default=2, description="Transformer blocks")
    heads: Size = Field(default=2, description="attention heads; must divide width")
    feed_forward: Size = Field(default=128, description="hidden width of the feed-forward layer; hstu has none")
    norm: Literal["post", "pre"] = Field(
        default="post", description="layer norm after or before each sub-layer; pre adds a final norm (hstu: its own)"
    )
    dropout: ShareBelowOne = Field(default=0.5, description="share of activations zeroed")
    embedding_scale: bool = Field(
        default=False, description="multiply item vectors by sqrt(width) on their way into the encoder"
    )
    similarity: Literal["dot", "cosine"] = Field(
        default="dot", description="score of a query and an item: inner product, or cosine over the temperature"
    )
    temperature: Positive = Field(default=0.07, description="divides the cosine (cosine)")
    contrast_weight: NotNegative = Field(default=0.1, description="cl4srec: weight of the contrastive loss")
    contrast_temperature: Positive = Field(default=1.0, description="cl4srec: divides the similarities of views")
    contrast_crop: Probability = Field(default=0.2, description="cl4srec: share of a sequence that a crop keeps")
    contrast_mask: Probability = Field(default=0.7, description="cl4srec: share of a sequence that is masked")
    contrast_reorder: Probability = Field(default=0.2, description="cl4srec: share of a sequence that is shuffled")
    codebooks: Size = Field(
        default=4, description="semantic_id: codes of an item, beside the one that tells apart those that share all"
    )
    codebook_size: Annotated[int, NotBool, Field(ge=2, lt=2**31)] | None = Field(
        default=None, description="semantic_id: values of a code; none: a third of the items, at most 4,096"
    )
    item_vectors: str | None = Field(
        default=None,
        description="Parquet file of item_id and vector, for semantic_id and classes of yours; none: semantic_id "
        "makes vectors from the training sequences",
    )
    options: dict[str, JsonValue] = Field(default={}, description="whatever a class of yours reads from config.options")

    @property
    def is_plugin(self) -> bool:
        """Whether the backbone is a class that the user brings."""
        return self.backbone not in get_args(BackboneName)

    @model_validator(mode="after")
    def _backbone_is_known(self) -> "ModelConfig":
        if self.is_plugin and not _PLUGIN.fullmatch(self.backbone):
            raise ValueError(
                f"model.backbone={shown(self.backbone)} is neither one of {', '.join(get_args(BackboneName))} nor a "
                "class: write package.module:Class"
            )
        if self.item_vectors is not None and not self.is_plugin and self.backbone != "semantic_id":
            raise ValueError(
                f"model.item_vectors={self.item_vectors} would be read by nothing, as model.backbone={self.backbone}: "
                "leave it out, or set model.backbone=semantic_id"
            )
        if self.options and not self.is_plugin:
            raise ValueError(
                f"model.options={dict(self.options)} would be read by nothing, as model.backbone={self.backbone} is "
                "not a class of yours: leave it out"
            )
        return self

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "ModelConfig":
        if self.width % self.heads:
            raise ValueError(f"model.heads={self.heads} does not divide model.width={self.width}: choose one that does")
        return self


class TrainingConfig(Section):
    """Fitting one backbone. An epoch of the budget is a pass over D_0, in every iteration: budgets are in updates."""

    preset: Literal["paper", "strong"] = Field(default="paper", description="fills defaults of model and training")
    loss: Literal["sampled_softmax", "cross_entropy", "bce", "gbce"] = Field(
        default="sampled_softmax",
        description="softmax over sampled negatives, or over the whole catalogue; binary cross-entropy with sampled "
        "negatives, plain or calibrated for their number (gBCE)",
    )
    negatives: PositiveInt = Field(default=512, description="negatives shared by a batch (sampled losses)")
    logq_correction: bool = Field(
        default=False, description="weigh each negative by the items it stands for: sampled softmax then estimates full"
    )
    gbce_calibration: Probability = Field(
        default=0.75, description="t of gBCE: 0 is plain bce, 1 corrects in full for the share of items sampled"
    )
    item_updates: Literal["dense", "sparse"] = Field(
        default="dense",
        description="sparse: an update reads and changes only the items of its batch and negatives, by an Adam with "
        "one second moment an item; others move when they are read next; for large catalogues, with a sampled loss",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="of the encoder's matrix products while training; loss, weights and validation stay float32",
    )
    batch_size: PositiveInt = Field(default=256, description="sequences per optimiser update, over all workers")
    learning_rate: Positive = Field(default=1e-3, description="of Adam; its peak, if it changes")
    schedule: Literal["constant", "linear"] = Field(
        default="constant",
        description="linear: the rate rises to its peak, then falls to nothing at max_epochs; set patience as high",
    )
    warmup: ShareBelowOne = Field(default=0.05, description="share of the budget over which the rate rises (linear)")
    weight_decay: NotNegative = Field(default=0.0, description="L2 penalty of Adam")
    max_epochs: PositiveInt = Field(default=1000, description="budget, in passes over D_0")
    finetune_learning_rate: Positive | None = Field(
        default=None, description="learning_rate of a fit that starts from the last model; none: the same"
    )
    finetune_epochs: PositiveInt | None = Field(
        default=None, description="max_epochs of a fit that starts from the last model; none: the same"
    )
    patience: PositiveInt = Field(default=20, description="passes over D_0 without a better validation NDCG@20")
    workers: PositiveInt = Field(
        default=1, description="data-parallel workers of a fit; two or more are a group of Ray Train"
    )
    threads: PositiveInt = Field(default=1, description="CPU threads of each worker")
    use_gpu: bool = Field(default=False, description="one GPU for each worker")
    # A batch may be all synthetic, and its weights must not vanish in single precision.
    synthetic_weight: Annotated[float, NotBool, Field(ge=1e-6, le=1e6)] = Field(
        default=1.0, description="weight of synthetic sequences in the loss (lambda of Eq. 3); real ones have 1"
    )
    synthetic_share: Annotated[float, NotBool, Field(gt=0.0, le=1000.0)] | None = Field(
        default=None,
        description="synthetic sequences on top of the batch_size real ones of an update, for each of these, drawn "
        "anew every pass: real ones are seen as often as without any; none: all of D_k is shuffled together (paper)",
    )

    def for_finetuning(self) -> "TrainingConfig":
        """The settings of a fit that starts from the last model (`loop.variant: finetune`, k > 0)."""
        own = {"learning_rate": self.finetune_learning_rate, "max_epochs": self.finetune_epochs}
        return self.model_copy(update={key: value for key, value in own.items() if value is not None})

    @model_validator(mode="after")
    def _sparse_updates_touch_few_items(self) -> "TrainingConfig":
        if self.item_updates == "sparse" and self.loss == "cross_entropy":
            raise ValueError(
                "training.item_updates=sparse changes the items of a batch, and training.loss=cross_entropy changes "
                "all: set training.loss=sampled_softmax, or leave item_updates out"
            )
        if self.item_updates == "sparse" and self.weight_decay:
            raise ValueError(
                f"training.item_updates=sparse changes the items of a batch, and training.weight_decay="
                f"{self.weight_decay} shrinks all: set training.weight_decay=0, or leave item_updates out"
            )
        return self
