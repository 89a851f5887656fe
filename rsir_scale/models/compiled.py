"""Transformer blocks on the CPU, compiled: one call takes new positions through all of them.

`kernel/` holds the code; it is built with the package where a C++ compiler is found, for AVX-512, AVX2 and any other
processor. What it computes is what `layers.TransformerBlock.advance` computes, in single precision and up to rounding;
a position's result depends on its own path alone, whatever else is in the call.

Shapes: N new positions, M nodes, L positions of a path, D width.
"""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rsir_scale.extension import Kernel
from rsir_scale.models.layers import TransformerBlock
from rsir_scale.models.memory import Memory

_LANES = 16
_LINEAR = ("project_in", "project_out", "expand", "contract")


class _Norm(ctypes.Structure):
    """Mirrors `RsirNorm` of kernel/blocks.h."""

    _fields_ = [("scale", ctypes.c_void_p), ("shift", ctypes.c_void_p), ("epsilon", ctypes.c_float)]


class _Block(ctypes.Structure):
    """Mirrors `RsirBlock` of kernel/blocks.h."""

    _fields_ = [
        *((f"{name}{part}", ctypes.c_void_p) for name in _LINEAR for part in ("", "_bias")),
        *((name, _Norm) for name in ("attention_norm", "feed_forward_norm")),
    ]


class _Positions(ctypes.Structure):
    """Mirrors `RsirPositions` of kernel/blocks.h."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("count", "path_width", "room")),
        *((name, ctypes.c_void_p) for name in ("position", "path", "key", "value", "hidden")),
    ]


_KERNEL = Kernel(
    "rsir_scale.models._blocks",
    title="blocks",
    instead="`PlainBlocks`",
    nth_name="rsir_blocks_instructions",
    functions={
        "rsir_blocks_advance": (
            ctypes.c_int32,
            (
                ctypes.c_char_p,
                ctypes.POINTER(_Block),
                *[ctypes.c_int64] * 4,
                ctypes.c_int32,
                ctypes.POINTER(_Positions),
            ),
        )
    },
)
instructions = _KERNEL.instructions


def takes(blocks: Sequence[TransformerBlock]) -> bool:
    """Whether the kernel was built and computes such blocks: float32 on a CPU, of widths that fill whole vectors."""
    weight = blocks[0].expand.weight
    feed_forward, width = weight.shape
    whole = width % (_LANES * blocks[0].attention.heads) == 0 and feed_forward % _LANES == 0
    return whole and _KERNEL.takes(weight)


class CompiledBlocks:
    """Blocks in the kernel's layout, copied; see `memory.Blocks`.

    Args:
        blocks: as `takes` wants them, in evaluation mode.
        using: one of `instructions()`; None for the best.

    Raises:
        ConfigError: the kernel was not built, or lacks the instructions.
    """

    def __init__(self, blocks: Sequence[TransformerBlock], *, using: str | None = None) -> None:
        self._library, self.name = _KERNEL.open(using)
        self.count = len(blocks)
        self._held: list[Tensor] = []  # what the kernel has pointers to
        self._blocks = (_Block * len(blocks))(*(self._packed(block) for block in blocks))
        self._feed_forward, self._width = blocks[0].expand.weight.shape
        self._heads, self._norm_first = blocks[0].attention.heads, blocks[0].norm_first

    def advance(self, x_ND: Tensor, memory: Memory, position_N: Tensor, path_NL: Tensor) -> Tensor:
        """Take new positions through all blocks; see `memory.Blocks`."""
        hidden_ND = x_ND.clone(memory_format=torch.contiguous_format)
        position_N, path_NL = position_N.contiguous(), path_NL.contiguous()
        positions = _Positions(
            count=len(hidden_ND),
            path_width=path_NL.shape[1],
            room=memory.key_KMD.shape[1],
            position=position_N.data_ptr(),
            path=path_NL.data_ptr(),
            key=memory.key_KMD.data_ptr(),
            value=memory.value_KMD.data_ptr(),
            hidden=hidden_ND.data_ptr(),
        )
        sizes = self.count, self._width, self._heads, self._feed_forward
        if self._library.rsir_blocks_advance(self.name.encode(), self._blocks, *sizes, self._norm_first, positions):
            raise MemoryError(f"no memory to encode {len(hidden_ND)} positions")
        return hidden_ND

    def _packed(self, block: TransformerBlock) -> _Block:
        layers = block.attention.project_in, block.attention.project_out, block.expand, block.contract
        fields: dict[str, object] = {}
        for name, layer in zip(_LINEAR, layers, strict=True):
            fields[name] = self._pointer(layer.weight.T)
            fields[f"{name}_bias"] = self._pointer(layer.bias)
        return _Block(
            **fields,
            attention_norm=self._norm(block.attention_norm),
            feed_forward_norm=self._norm(block.feed_forward_norm),
        )

    def _norm(self, norm: nn.LayerNorm) -> _Norm:
        return _Norm(self._pointer(norm.weight), self._pointer(norm.bias), norm.eps)

    def _pointer(self, tensor: Tensor) -> int:
        self._held.append(tensor.detach().contiguous().clone())
        return self._held[-1].data_ptr()
