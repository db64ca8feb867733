"""When a run must be over, so that what was measured until then is told."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Deadline:
    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        return self._end - time.monotonic()

    @contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        """An error in the block when it takes longer than this, or than the run may."""
        seconds = min(seconds, self.left())
        if seconds <= 0:
            raise TimeoutError("the run is out of time")

        def ring(*_: Any) -> None:
            raise TimeoutError(f"not ready in {seconds:.3g} s")

        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
