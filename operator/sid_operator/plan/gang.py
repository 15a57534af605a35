"""The pods of a run as a gang: which pod stands for each index now.

A Job keeps failed pods beside their replacements; an index is stood for by its newest pod.
"""

from __future__ import annotations

from collections.abc import Iterable

from sid_operator.plan.pods import Pod


def newest(pods: Iterable[Pod]) -> tuple[Pod, ...]:
    """The newest pod of each index, by index."""
    by_index: dict[int, Pod] = {}
    for pod in sorted(pods, key=lambda pod: (pod.created, pod.name)):
        by_index[pod.index] = pod
    return tuple(by_index[index] for index in sorted(by_index))


def current(pods: Iterable[Pod]) -> tuple[Pod, ...]:
    """The pods that train or are to train: the newest of each index that is not over or leaving."""
    return tuple(
        pod
        for pod in newest(pods)
        if not pod.leaving and pod.terminated is None and pod.phase in ("Pending", "Running")
    )


def standing(pods: Iterable[Pod]) -> int:
    """How many indexes have a pod that is ready or ended well; ranks do not end all at once."""
    return sum(pod.succeeded or (pod.ready and not pod.leaving) for pod in newest(pods))


def filled(pods: Iterable[Pod]) -> int:
    """How many indexes have a pod that needs no replacement."""
    return sum(pod.succeeded or not (pod.failed or pod.leaving) for pod in newest(pods))


def rank_zero(pods: Iterable[Pod]) -> Pod | None:
    """The ready pod of index 0."""
    return next((pod for pod in current(pods) if pod.index == 0 and pod.ready), None)
