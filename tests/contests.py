"""A contest that nobody held."""

from __future__ import annotations

from fusedstep.rivals import Contest


def timed(seconds: dict[str, float]) -> Contest:
    """One round, in which each contestant took its seconds."""
    return Contest("AdamW", 1, 1000, {name: [time] for name, time in seconds.items()})
