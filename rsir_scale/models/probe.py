"""What a model must be able to do, tried on a batch of a few items before anything is trained or written.

Comes in: settings and a dataset. Goes out: nothing, or an error that names the class, the method, what it returned and
what was expected. A class of the user's is built at its full size and held to what the engine relies on: shapes,
precision, device, no look ahead, no influence of padding.

Shapes: B rows, L positions, D width, V items.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import PreparedDataset
from rsir_scale.data.vectors import read_item_vectors
from rsir_scale.errors import ConfigError
from rsir_scale.models.base import Backbone
from rsir_scale.models.checkpoint import build_backbone, copy_weights, describe
from rsir_scale.models.codes import codebook_values, require_codebook_fits
from rsir_scale.models.memory import Memory
from rsir_scale.models.plugin import expected
from rsir_scale.runs.trained import ModelDescription

_TOLERANCE = 1e-3  # relative; rounding in single precision is a thousand times smaller
_NO_GRADIENT = ("what no gradient reaches", "tensors made from parameters")


def check_model(config: Config, dataset: PreparedDataset) -> None:
    """Refuse settings of a model that cannot work on a dataset.

    Raises:
        ConfigError: a class of the user's breaks its contract, or a codebook is too large.
        InputError: the file of item vectors has a fault.
    """
    if config.model.item_vectors is not None:
        read_item_vectors(config.model.item_vectors, dataset.item_ids())
    if config.model.backbone == "semantic_id":
        items = dataset.meta.items
        require_codebook_fits(codebook_values(config.model.codebook_size, items), items)
    if config.model.is_plugin:
        backbone = probe(describe(config, dataset))
        if config.training.item_updates == "sparse":
            require_item_embedding(backbone)


def require_item_embedding(backbone: Backbone) -> nn.Embedding:
    """Return the embedding whose rows `training.item_updates=sparse` changes.

    Raises:
        ConfigError: the backbone has no row of its own for each item, or names a module that is not its own.
    """
    embedding = backbone.item_embedding()
    if embedding is None:
        raise ConfigError(
            f"training.item_updates=sparse changes the rows of single items, and {type(backbone).__name__} has none: "
            "set training.item_updates=dense, or let its item_embedding return them"
        )
    rows = backbone.item_count + 1
    if all(module is not embedding for module in backbone.modules()) or len(embedding.weight) != rows:
        raise ConfigError(
            f"training.item_updates=sparse, but item_embedding of {type(backbone).__name__} gave {embedding}, expected "
            f"a module of its own with {rows} rows: one for each item, and row 0 for padding"
        )
    return embedding


def probe(description: ModelDescription) -> Backbone:
    """Build a backbone and hold it to its contract on a context of full length and one of a single item.

    Returns:
        What was built and tried.

    Raises:
        ConfigError: what it broke.
    """
    asked = _Asked(description)
    backbone = _built(asked, description)
    _check_state(asked, backbone)
    table_VD = asked.tensor("item_vectors", backbone.item_vectors, (description.item_count + 1, backbone.width))
    item_L = torch.arange(description.max_length) % description.item_count + 1
    context_BL = torch.stack([item_L, item_L.flip(0)])
    context_BL[1, 1:] = 0
    _check_queries(asked, backbone, context_BL, table_VD)
    if description.model.similarity == "cosine":
        length = description.model.temperature**-0.5
        asked.has_length("item_vectors", table_VD[1:], length)
        asked.has_length("encode", backbone.encode(context_BL), length)
    vectors_BLD = asked.tensor(
        "vectors_of", lambda: backbone.vectors_of(context_BL), (*context_BL.shape, backbone.width)
    )
    asked.agree("vectors_of", vectors_BLD, table_VD[context_BL], "the rows of item_vectors()")
    if not vectors_BLD.requires_grad:
        raise asked.fault("vectors_of", *_NO_GRADIENT)
    _check_memory(asked, backbone, item_L)
    draws = torch.Generator().manual_seed(0)
    loss = asked.of("auxiliary_loss", "None or a number", lambda: backbone.auxiliary_loss(context_BL, draws=draws))
    if loss is not None:
        asked.tensor("auxiliary_loss", lambda: loss, ())
    return backbone


def _built(asked: "_Asked", description: ModelDescription) -> Backbone:
    """The backbone, which must have told its base class the sizes that it was asked for."""
    wanted = {"item_count": description.item_count, "max_length": description.max_length}
    sizes = ", ".join(f"{name}={size}" for name, size in wanted.items())
    told = f"a Backbone after super().__init__({sizes}, width=…)"
    backbone: Backbone = asked.of("__init__", told, lambda: build_backbone(description).eval())
    found = asked.of("__init__", told, lambda: {name: getattr(backbone, name) for name in (*wanted, "width")})
    if any(found[name] != wanted[name] for name in wanted):
        raise asked.fault("__init__", f"a Backbone with {found}", told)
    return backbone


def _check_state(asked: "_Asked", backbone: Backbone) -> None:
    """What is to be trained can be, and what is kept comes back: Adam takes reals, and files hold finite tensors."""
    for name, parameter in backbone.named_parameters():
        if parameter.requires_grad and not parameter.is_floating_point():
            kind = str(parameter.dtype).removeprefix("torch.")
            raise asked.fault("__init__", f"the parameter {name!r} in {kind}", "real ones (two for a complex number)")
    for name, module in backbone.named_modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm):
            raise asked.fault("__init__", f"a batch norm, {name!r}", "a norm of each position alone: nn.LayerNorm")
    for name, tensor in backbone.state_dict().items():
        if not isinstance(tensor, Tensor):
            raise asked.fault("state_dict", f"{type(tensor).__name__} for {name!r}", "tensors alone")
        if not torch.isfinite(tensor).all():
            wanted = "finite ones; register_buffer(…, persistent=False) for what need not be kept, such as a mask"
            raise asked.fault("state_dict", f"NaN or infinity in {name!r}", wanted)
    kept = copy_weights(backbone)
    asked.of("load_state_dict", "tensors that can be written to", lambda: backbone.load_state_dict(kept))


def _check_memory(asked: "_Asked", backbone: Backbone, item_L: Tensor) -> None:
    """Advance through a whole context at once: each position is a new one whose path holds those before it."""
    memory = asked.of("memory", "a Memory or None", backbone.memory)
    if memory is None:
        return
    if not isinstance(memory, Memory):
        raise asked.fault("memory", repr(type(memory).__name__), "a Memory or None")
    length = len(item_L)
    memory.keep(item_L[:0], room=length)
    place_N = torch.arange(length)
    path_NL = (memory.take(length) + place_N).expand(length, length)
    with torch.inference_mode():
        query_ND = asked.tensor(
            "advance", lambda: backbone.advance(memory, item_L, place_N, path_NL), (length, backbone.width)
        )
    asked.agree("advance", query_ND, backbone.hidden(item_L[None])[0], "hidden() of the same context")


def _check_queries(asked: "_Asked", backbone: Backbone, context_BL: Tensor, table_VD: Tensor) -> None:
    rows, length = context_BL.shape
    hidden_BLD = asked.tensor("hidden", lambda: backbone.hidden(context_BL), (rows, length, backbone.width))
    if not hidden_BLD.requires_grad or not table_VD.requires_grad:
        raise asked.fault("hidden and item_vectors", *_NO_GRADIENT)
    query_BD = asked.tensor("encode", lambda: backbone.encode(context_BL), (rows, backbone.width))
    last_B = (context_BL > 0).sum(1) - 1
    asked.agree("encode", query_BD, hidden_BLD[torch.arange(rows), last_B], "hidden() at each row's last item")
    alone_BD = asked.tensor("encode", lambda: backbone.encode(context_BL[1:, :1]), (1, backbone.width))
    asked.agree("encode", alone_BD, query_BD[1:], "the same without padding and without other rows")
    for earlier in {1, length - 1} - {0, length}:
        before_BLD = asked.tensor(
            "hidden", partial(backbone.hidden, context_BL[:, :earlier]), (rows, earlier, backbone.width)
        )
        # What stands at padding is undefined.
        asked.agree(
            "hidden",
            hidden_BLD[:1, :earlier],
            before_BLD[:1],
            "the same before later items came: it must not look ahead",
        )


class _Asked:
    """Calls methods of a class and puts its faults into words."""

    def __init__(self, description: ModelDescription) -> None:
        self._name = description.model.backbone

    def of(self, method: str, wanted: str, call: Callable[[], Any]) -> Any:
        """Return what `call` returns; whatever it raises is a fault of the method."""
        try:
            return call()
        except ConfigError:
            raise
        except Exception as error:  # the code is the user's: anything may come
            raise self.fault(method, f"{type(error).__name__}: {error}", wanted) from error

    def tensor(self, method: str, call: Callable[[], Any], shape: tuple[int, ...]) -> Tensor:
        """Return what `call` returns, if that is a tensor of this shape in float32 on the CPU, and finite."""
        wanted = f"float32 {list(shape)} on cpu, all finite"
        found = self.of(method, wanted, call)
        if not isinstance(found, Tensor):
            raise self.fault(method, repr(type(found).__name__), wanted)
        if (tuple(found.shape), found.dtype, found.device.type) != (shape, torch.float32, "cpu"):
            kind = str(found.dtype).removeprefix("torch.")
            raise self.fault(method, f"{kind} {list(found.shape)} on {found.device.type}", wanted)
        if not torch.isfinite(found).all():
            raise self.fault(method, "NaN or infinity", wanted)
        return found

    def agree(self, method: str, found: Tensor, other: Tensor, what: str) -> None:
        """Hold two tensors of one shape to each other."""
        difference = float((found - other).detach().abs().max())
        if difference > _TOLERANCE * (1.0 + float(other.detach().abs().max())):
            raise self.fault(method, f"values that differ by {difference:.3g} from {what}", "the same up to rounding")

    def has_length(self, method: str, found_ND: Tensor, length: float) -> None:
        """Hold vectors to the length with which their inner products are cosines over the temperature."""
        length_N = found_ND.detach().norm(dim=-1)
        if float((length_N - length).abs().max()) > _TOLERANCE * (1.0 + length):
            raise self.fault(
                method,
                f"vectors of length {float(length_N.min()):.3g} to {float(length_N.max()):.3g}",
                f"{length:.3g} for all, temperature^-1/2, as model.similarity=cosine; return F.normalize(x, dim=-1) / "
                "config.temperature**0.5, or set model.similarity=dot",
            )

    def fault(self, method: str, found: str, wanted: str) -> ConfigError:
        """Name class, method, what came and what was expected."""
        return ConfigError(
            f"model.backbone={self._name}: {method} gave {found}, expected {wanted}; the class is to be "
            f"{expected(self._name)} (docs/backbone.md)"
        )
