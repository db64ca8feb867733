"""Steps that a CUDA graph launches."""

from __future__ import annotations

import time

import fusedstep as fs
from fusedstep.measurement.timing import Step
from fusedstep.rivals.rival import package


def capture(step: Step) -> Step:
    """What launches a graph of the step, by torch."""
    torch = package("torch")
    graph = torch.cuda.CUDAGraph()
    # A capture that fails leaves its stream the current one, where no event of the default one would see what is timed.
    with (
        torch.cuda.stream(torch.cuda.current_stream()),
        torch.cuda.graph(graph),
        fs.cuda.use_stream(torch.cuda.current_stream().cuda_stream),
    ):
        step()
    return graph.replay


class Captured:
    """A step that is captured when it has run once, as it must have, and launched from then on."""

    def __init__(self, step: Step) -> None:
        self._step, self._launch = step, None
        self.seconds = 0.0  #: that capturing took

    def __call__(self) -> None:
        if self._launch:
            self._launch()
            return
        self._step()
        begin = time.perf_counter()
        self._launch = capture(self._step)
        self.seconds = time.perf_counter() - begin
