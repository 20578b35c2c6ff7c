"""Whether the simulated network is the trained one, by the metrics of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def agrees(metrics: Mapping[str, Any]) -> bool:
    """Whether spikes were compared and none differed, and predictions and logits were the same, in every task."""
    tasks = metrics["tasks"]
    same = all(task["mismatched_spikes"] == 0 and task["prediction_agreement"] == 1.0 for task in tasks)
    # `agrees` also knows the logits' scale; records from elsewhere may lack it.
    same = same and all(task.get("agrees", True) for task in tasks)
    return same and any(task["spikes_compared"] > 0 for task in tasks)
