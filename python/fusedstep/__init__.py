"""Optimizer updates, fused and in place, on your NumPy arrays.

>>> import numpy as np, fusedstep as fs
>>> w, b = np.ones((4, 3), np.float32), np.zeros(3, np.float32)
>>> opt = fs.AdamW({"w": w, "b": b}, lr=1e-3, weight_decay=0.01)
>>> opt.step({"w": np.ones_like(w), "b": np.ones_like(b)})
"""

try:
    from . import _core  # noqa: F401  (a missing one gets a message of its own)
except ImportError as error:
    if error.name != __name__:  # it is there, and cannot be loaded
        raise
    raise ImportError(
        "fusedstep: its compiled part must be built for this Python (`pip install .` does that), "
        f"got none in {__path__[0]}"
    ) from None

from . import cuda, functional, reference, schedules
from .bfloat16 import as_bfloat16, as_float32
from .gradients import Stats, stats
from .methods import *
from .methods import __all__ as _methods
from .monitor import GradientMonitor
from .targets import (
    active_target,
    available_targets,
    get_num_threads,
    set_num_threads,
    take_environment,
    use_target,
)

__version__ = "0.1.0"
__all__ = [
    *_methods,
    "GradientMonitor",
    "Stats",
    "active_target",
    "as_bfloat16",
    "as_float32",
    "available_targets",
    "cuda",
    "functional",
    "get_num_threads",
    "reference",
    "schedules",
    "set_num_threads",
    "stats",
    "use_target",
]

take_environment()
