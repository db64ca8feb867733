"""Tensors for our arrays, and arrays for what others give as tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .. import _core
from ..bfloat16 import as_bfloat16, bits_of, is_bfloat16
from .parts import part_of


def to_tensor(array: Any) -> torch.Tensor:
    """A tensor in the memory of an array, wherever that lies."""
    if isinstance(array, torch.Tensor):
        return array.detach()
    if not isinstance(array, np.ndarray):
        kind, index = _core.device_of(array)
        tensor = torch.as_tensor(array, device=f"{kind}:{index}")
        return tensor.view(torch.bfloat16) if _core.describe(array)[2] == "bfloat16" else tensor
    if is_bfloat16(array):
        return torch.from_numpy(bits_of(array).view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def to_array(tensor: torch.Tensor, dtype: str) -> np.ndarray:
    """The numbers of a tensor, in the processor's memory, and in this type where it holds all of theirs."""
    if tensor.requires_grad or tensor.layout != torch.strided or tensor.is_meta:
        kind = "one that requires grad" if tensor.requires_grad else f"{tensor.layout} on {tensor.device}"
        raise TypeError(f"state must hold dense tensors with values and without gradients, got {kind}")
    # A copy, as it may be one of ours, which others are about to be written into.
    tensor, wanted = part_of(tensor).to("cpu", copy=True).resolve_neg(), getattr(torch, dtype, tensor.dtype)
    floating = tensor.is_floating_point() and wanted.is_floating_point
    if floating and torch.promote_types(tensor.dtype, wanted) == wanted:
        tensor = tensor.to(wanted)
    if tensor.dtype == torch.bfloat16:
        return as_bfloat16(tensor.view(torch.int16).numpy().view(np.uint16))
    return tensor.numpy()


def number(value: Any) -> Any:
    """That of a tensor, as torch takes learning rates, or those of some; everything else as it is."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(number, value))
    return value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value
