"""The options of the augmenter `dr4sr`; defaults are the authors', from their code."""

from pydantic import Field

from rsir_scale.config.fitting import NotNegative, Positive, PositiveInt, Section, ShareBelowOne, Size


class Dr4srOptions(Section):
    """Mining, the regenerator, its fit, and decoding (Yin et al., KDD 2024)."""

    span: Size = Field(default=5, ge=2, description="alpha: items of a sequence among which a pattern must stand")
    support: PositiveInt = Field(default=2, description="beta: sequences that must hold a pattern")
    patterns: Size = Field(default=10, description="patterns that a sequence gets at the most, and learns from")
    memories: Size = Field(default=5, description="K: ways to read a sequence, each of which writes a row from it")
    blocks: Size = Field(default=2, description="Transformer blocks, of the encoder and of the decoder")
    heads: Size = Field(default=2, description="attention heads; must divide model.width")
    feed_forward: Size = Field(default=256, description="hidden width of the feed-forward layers")
    dropout: ShareBelowOne = Field(default=0.5, description="share of activations zeroed")
    sharpness: NotNegative = Field(
        default=1.0, description="weight of the entropy of the choice among memories, beside the loss of a target"
    )
    epochs: PositiveInt = Field(default=40, description="passes over the pairs of sequence and pattern")
    batch_size: PositiveInt = Field(default=256, description="pairs of an update, over all workers")
    learning_rate: Positive = Field(default=1e-3, description="of Adam")
    own_items: int = Field(
        default=2, ge=0, le=2**16, description="leading items of a row that are the source's own; the rest are free"
    )
    longest: Size = Field(default=23, ge=2, description="items of a row at the most")
