"""Blocks over packed contexts on the CPU, compiled: one call forwards, one backwards, for all blocks; or one call to
what comes out after each context's last token, which keeps nothing for a way back.

`kernel/` holds the code; it is built with the package where a C++ compiler is found, for AVX-512, AVX2 and any other
processor. What it computes is what `Block.packed` computes in torch, with the same dropout, in single precision and up
to rounding. Sums run in one order, whatever the number of threads.

Shapes: B rows, T tokens, D width.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from rsir_scale.extension import Kernel
from rsir_scale.models.hstu_block import HSTUBlock
from rsir_scale.models.layers import Block, TransformerBlock
from rsir_scale.models.packed import Drops, PackedContexts, threshold

_LANES = 16
_LAYERS = 4


class _Linear(ctypes.Structure):
    """Mirrors `RsirLinear` of kernel/packed.h."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("weight", "across", "bias", "weight_gradient", "bias_gradient")),
        *((name, ctypes.c_int64) for name in ("outputs", "inputs")),
    ]


class _Norm(ctypes.Structure):
    """Mirrors `RsirLayerNorm` of kernel/packed.h."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("scale", "shift")),
        ("epsilon", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("scale_gradient", "shift_gradient")),
    ]


class _Block(ctypes.Structure):
    """Mirrors `RsirPackedBlock` of kernel/packed.h."""

    _fields_ = [
        ("layers", _Linear * _LAYERS),
        *((name, _Norm) for name in ("attention_norm", "feed_forward_norm")),
        *((name, ctypes.c_void_p) for name in ("distance_bias", "distance_bias_gradient")),
    ]


class _Pass(ctypes.Structure):
    """Mirrors `RsirPacked` of kernel/packed.h."""

    _fields_ = [
        ("blocks", ctypes.POINTER(_Block)),
        *((name, ctypes.c_int64) for name in ("count", "width", "heads", "feed_forward")),
        *((name, ctypes.c_int32) for name in ("hstu", "norm_first")),
        *((name, ctypes.c_int64) for name in ("longest", "rows")),
        *((name, ctypes.c_void_p) for name in ("offset", "seed")),
        ("threshold", ctypes.c_int32),
        ("scale", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("in", "out", "kept", "out_gradient", "in_gradient")),
    ]


_RUN = (ctypes.c_int32, (ctypes.c_char_p, ctypes.POINTER(_Pass), ctypes.c_int64))
_KERNEL = Kernel(
    "rsir_scale.models._packed",
    title="training blocks",
    instead="those in torch",
    nth_name="rsir_packed_instructions",
    functions={
        "rsir_packed_kept": (ctypes.c_int64, (ctypes.POINTER(_Pass),)),
        "rsir_packed_forward": _RUN,
        "rsir_packed_backward": _RUN,
        "rsir_packed_ends": _RUN,
    },
)
instructions = _KERNEL.instructions


def takes(blocks: Sequence[Block]) -> bool:
    """Whether the kernel was built and computes such blocks: float32 on a CPU, of widths that fill whole vectors."""
    kinds = {type(block) for block in blocks}
    if kinds not in ({TransformerBlock}, {HSTUBlock}) or torch.is_autocast_enabled("cpu"):
        return False
    shape = _Shape.of(blocks)
    whole = shape.width % (_LANES * shape.heads) == 0 and shape.feed_forward % _LANES == 0
    return whole and _KERNEL.takes(*blocks[0].parameters())


def through_blocks(
    blocks: Sequence[Block], x_TD: Tensor, contexts: PackedContexts, drops: Drops, *, using: str | None = None
) -> Tensor:
    """Take the tokens of whole contexts through all blocks, differentiable by them and by every weight, once.

    Args:
        blocks: as `takes` wants them.
        x_TD: what goes into the first block, before dropout.
        contexts: which contexts the tokens are of.
        drops: dropout at the input and in the blocks.
        using: one of `instructions()`; None for the best.

    Raises:
        ConfigError: the kernel was not built, or lacks the instructions.
    """
    _, name = _KERNEL.open(using)
    weights = [weight for block in blocks for weight in _weights(block)]
    setting = _Setting(_Shape.of(blocks, contexts.parts[-1].longest), contexts.offset_B1, drops, name)
    return cast(Tensor, _Through.apply(setting, x_TD, *weights))  # type: ignore[no-untyped-call]


def ends(blocks: Sequence[Block], x_TD: Tensor, length_B: Tensor, *, using: str | None = None) -> Tensor:
    """Return what leaves the blocks after the last token of each context, `[B, D]`, without dropout or gradients.

    Whatever no other token of the last block needs is not computed. A context's outcome depends on it alone.

    Args:
        blocks: as `takes` wants them.
        x_TD: what goes into the first block.
        length_B: int64, at least 1: how many tokens each context has.
        using: one of `instructions()`; None for the best.

    Raises:
        ConfigError: the kernel was not built, or lacks the instructions.
        ValueError: a context has no token.
    """
    if len(length_B) == 0 or int(length_B.min()) < 1:
        raise ValueError("a context has no item, so nothing is its last: give contexts of at least one")
    _, name = _KERNEL.open(using)
    offset_B1 = F.pad(length_B.cumsum(0), (1, 0))
    setting = _Setting(_Shape.of(blocks, int(length_B.max())), offset_B1, Drops(0.0, offset_B1[:0]), name)
    x_TD = x_TD.detach().contiguous()
    out_BD = x_TD.new_empty((len(length_B), x_TD.shape[1]))
    _Call(setting, [weight for block in blocks for weight in _weights(block)]).run("ends", {"in": x_TD, "out": out_BD})
    return out_BD


class _Shape(NamedTuple):
    """What all blocks of a stack have in common; of HSTU's, `longest` is what the model reads."""

    depth: int
    width: int
    heads: int
    feed_forward: int
    longest: int
    hstu: bool = False
    norm_first: bool = False
    epsilon: float = 0.0

    @classmethod
    def of(cls, blocks: Sequence[Block], longest: int = 0) -> "_Shape":
        block, depth = blocks[0], len(blocks)
        if isinstance(block, HSTUBlock):
            return cls(depth, block.project_out.in_features, block.heads, 0, block.max_length, hstu=True)
        assert isinstance(block, TransformerBlock)  # noqa: S101
        wide, width = block.expand.weight.shape
        norm_first, epsilon = block.norm_first, block.attention_norm.eps
        return cls(depth, width, block.attention.heads, wide, longest, norm_first=norm_first, epsilon=epsilon)


@dataclass(frozen=True)
class _Setting:
    """All of a pass but its tensors with gradients."""

    shape: _Shape
    offset_B1: Tensor
    drops: Drops
    using: str


class _Spare:
    """Memory of passes that are done, for the next ones: fresh pages cost a fifth of a pass."""

    def __init__(self) -> None:
        self._buffers: list[Tensor] = []

    def take(self, numbers: int) -> Tensor:
        """Return room for so many numbers; what there is that is too small is let go."""
        while self._buffers:
            if (buffer := self._buffers.pop()).numel() >= numbers:
                return buffer
        return torch.empty(numbers + numbers // 8, dtype=torch.float32)

    def give_back(self, buffer: Tensor) -> None:
        self._buffers.append(buffer)


_SPARE = _Spare()


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, setting: _Setting, x_TD: Tensor, *weights: Tensor) -> Tensor:
        x_TD = x_TD.contiguous()
        out_TD, call = torch.empty_like(x_TD), _Call(setting, weights)
        kept = _SPARE.take(call.numbers_kept())
        call.run("forward", {"in": x_TD, "out": out_TD, "kept": kept})
        ctx.setting, ctx.kept = setting, kept
        ctx.save_for_backward(*weights)
        return out_TD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_out_TD: Tensor) -> tuple[Tensor | None, ...]:
        by_out_TD, weights = by_out_TD.contiguous(), ctx.saved_tensors
        gradients = [torch.empty_like(weight) for weight in weights]
        by_x_TD = torch.empty_like(by_out_TD)
        tensors = {"kept": ctx.kept, "out_gradient": by_out_TD, "in_gradient": by_x_TD}
        _Call(ctx.setting, weights, gradients).run("backward", tensors)
        _SPARE.give_back(ctx.kept)
        return None, by_x_TD, *gradients


class _Call:
    """What the kernel is told of a pass, and the tensors that it has pointers to."""

    def __init__(self, setting: _Setting, weights: Sequence[Tensor], gradients: Sequence[Tensor] = ()) -> None:
        shape, self._setting = setting.shape, setting
        self._library, _ = _KERNEL.open(setting.using)
        self._held = [setting.offset_B1, setting.drops.seed_T.contiguous(), *weights, *gradients]
        self._across = not gradients
        each = len(weights) // shape.depth
        blocks = [
            self._block(weights[at : at + each], gradients[at : at + each]) for at in range(0, len(weights), each)
        ]
        self._pass = _Pass(
            blocks=(_Block * shape.depth)(*blocks),
            **{name: getattr(shape, name) for name in ("width", "heads", "feed_forward", "longest")},
            count=shape.depth,
            hstu=shape.hstu,
            norm_first=shape.norm_first,
            rows=len(setting.offset_B1) - 1,
            offset=self._held[0].data_ptr(),
            seed=self._held[1].data_ptr(),
            threshold=threshold(setting.drops.rate),
            scale=1.0 / (1.0 - setting.drops.rate),
        )

    def numbers_kept(self) -> int:
        """How many numbers the way back needs of the way there."""
        return int(self._library.rsir_packed_kept(self._pass))

    def run(self, way: str, tensors: dict[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            setattr(self._pass, name, tensor.data_ptr())
        run = getattr(self._library, f"rsir_packed_{way}")
        if run(self._setting.using.encode(), self._pass, torch.get_num_threads()):
            raise MemoryError(f"no memory to encode {int(self._setting.offset_B1[-1])} tokens")

    def _block(self, weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> _Block:
        """See `_weights` for the order."""
        of: Sequence[Tensor | None] = gradients or [None] * len(weights)
        if self._setting.shape.hstu:
            layers = (_Linear * _LAYERS)(
                self._linear(weights[0], None, of[0], None), self._linear(weights[1], weights[2], of[1], of[2])
            )
            return _Block(layers=layers, distance_bias=weights[3].data_ptr(), distance_bias_gradient=_pointer(of[3]))
        layers = (_Linear * _LAYERS)(
            *(self._linear(weights[at], weights[at + 1], of[at], of[at + 1]) for at in range(0, 2 * _LAYERS, 2))
        )
        norms = [self._norm(weights[at : at + 2], of[at : at + 2]) for at in (2 * _LAYERS, 2 * _LAYERS + 2)]
        return _Block(layers=layers, attention_norm=norms[0], feed_forward_norm=norms[1])

    def _linear(self, weight: Tensor, bias: Tensor | None, by_weight: Tensor | None, by_bias: Tensor | None) -> _Linear:
        across = weight.detach().T.contiguous() if self._across else None
        if across is not None:
            self._held.append(across)
        outputs, inputs = weight.shape
        pointers = (_pointer(tensor) for tensor in (weight, across, bias, by_weight, by_bias))
        return _Linear(*pointers, outputs, inputs)

    def _norm(self, weights: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> _Norm:
        scale, shift = weights
        return _Norm(_pointer(scale), _pointer(shift), self._setting.shape.epsilon, *map(_pointer, gradients))


def _weights(block: Block) -> list[Tensor]:
    """The parameters of a block, in the order in which the kernel is told of them."""
    if isinstance(block, HSTUBlock):
        return [block.project_in.weight, block.project_out.weight, block.project_out.bias, block.distance_bias]
    assert isinstance(block, TransformerBlock)  # noqa: S101
    layers = block.attention.project_in, block.attention.project_out, block.expand, block.contract
    norms = block.attention_norm, block.feed_forward_norm
    return [weight for module in (*layers, *norms) for weight in (module.weight, module.bias)]


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
