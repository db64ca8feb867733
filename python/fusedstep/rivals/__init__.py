"""Other packages that do the same work, for `fusedstep bench` and the scripts in ``bench/``.

Each is imported only when it takes part. None is needed.
"""

from .contest import Contest, hold
from .work import ROWS, Work

__all__ = ["ROWS", "Contest", "Work", "hold"]
