"""This process's parts of tensors that are distributed over several."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from ..stages import measure


def is_distributed(tensor: Any) -> bool:
    """Whether it is a DTensor, whose module takes long to import where nobody has one."""
    return isinstance(tensor, torch.Tensor) and hasattr(tensor, "to_local")


def part_of(tensor: Any) -> torch.Tensor:
    """What this process has of it: all of one that is not distributed."""
    if not is_distributed(tensor):
        return tensor
    with torch.no_grad():  # with gradients it would be another tensor each time
        return tensor.to_local()


def part_of_grad(grad: torch.Tensor | None, param: torch.Tensor, where: str) -> torch.Tensor | None:
    if grad is None or not is_distributed(param):
        return grad
    placed, expected = placement(grad), placement(param)
    if placed != expected:
        raise ValueError(
            f"{where} must be placed as its parameter, {expected[1]}, got {placed[1]} on {placed[0]} "
            "(grad.redistribute(placements=param.placements) is)"
        )
    return part_of(grad)


def placement(tensor: Any) -> tuple[Any, Any]:
    return (tensor.device_mesh, tuple(tensor.placements)) if is_distributed(tensor) else ("this process", "whole")


def behind(param: Any, lead: int) -> tuple[Any, ...]:
    """The placements of a parameter, behind so many axes that every process has as a whole."""
    return tuple(moved(place, lead) if lead and hasattr(place, "dim") else place for place in param.placements)


def moved(shard: Any, lead: int) -> Any:
    """Tensor parallelism makes shards of shards, which have a factor."""
    factor = {"split_factor": shard.split_factor} if hasattr(shard, "split_factor") else {}
    return type(shard)(shard.dim + lead, **factor)


def like(part: torch.Tensor, param: Any, lead: int) -> torch.Tensor:
    """The distributed tensor of which this is a part as that is of the parameter, behind so many axes of its own."""
    from torch.distributed.tensor import DTensor

    shape = torch.Size((*part.shape[:lead], *param.shape))
    stride = torch.empty(shape, device="meta").stride() if lead else param.stride()
    places = behind(param, lead)
    return DTensor.from_local(part, param.device_mesh, places, run_check=False, shape=shape, stride=stride)


def check_part(tensor: Any, param: Any, lead: int, where: str) -> None:
    """Of another distribution, a part may have the right shape and be of other elements."""
    if not is_distributed(tensor):
        return
    own = (param.device_mesh, behind(param, lead), tuple(param.shape)) if is_distributed(param) else None
    if own != (*placement(tensor), tuple(tensor.shape[lead:])):
        raise ValueError(
            f"{where} must be distributed as its parameter, "
            f"{f'{own[1]} of {own[2]}' if own else 'which is whole'}, got {tensor.placements} of {tuple(tensor.shape)}"
        )


def of_all(grads: Iterable[Iterable[torch.Tensor | None]], stages: Mapping[str, Any], optimizer: str) -> dict[str, Any]:
    """The stages' ``norm`` where they need one, of the gradients that all processes have."""
    if stages["max_norm_per_tensor"] is not None:
        raise ValueError(
            f"{optimizer}: max_norm_per_tensor must be left out where tensors are distributed, "
            f"got {stages['max_norm_per_tensor']!r}"
        )
    given = [grad for grad in itertools.chain(*grads) if grad is not None]
    if not given or not measure(stages):
        return {}
    norm = norm_of(given) / stages["grad_scale"]
    return {"norm": norm if norm.is_cuda else norm.item()}


def norm_of(grads: Iterable[torch.Tensor]) -> torch.Tensor:
    """√Σg² over all processes, in double."""
    meshes: dict[Any, list[torch.Tensor]] = {}
    for grad in grads:
        meshes.setdefault(placement(grad)[0], []).append(torch.linalg.vector_norm(grad, dtype=torch.float64))
    norms: list[Any] = [torch.linalg.vector_norm(torch.stack(some)) for some in meshes.values()]
    return torch.linalg.vector_norm(torch.stack([one.full_tensor() if is_distributed(one) else one for one in norms]))
