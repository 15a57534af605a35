"""Models that score images: which commit of the Hub each of them is in a run.

They are loaded late, by every rank. Rank 0 asks for them when a run begins, so that a wrong name is
told before the networks are loaded, and so that all ranks score with one model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sid_trainer.config import MetricsConfig, RunConfig, ScoreModelConfig
from sid_trainer.models.fetching import folder_commit_of
from sid_trainer.process.failures import naming

_FIELDS = {"clip_score": "clipScore", "preference": "preference"}
"""Where the models are named: attributes of ``evaluation.metrics``, as users know them."""


def scorer_commits(metrics: MetricsConfig | None) -> dict[str, str]:
    """Commits of those that are on the Hub, by attribute; on rank 0 alone.

    Raises:
        TrainerError: naming the field whose model is not there.
    """
    commits = {}
    for field, scorer in _scorers(metrics):
        with naming(f"evaluation.metrics.{_FIELDS[field]}.model"):
            commit = folder_commit_of(scorer.model, scorer.revision)
        if commit is not None:
            commits[field] = commit
    return commits


def with_commits(config: RunConfig, commits: Mapping[str, str]) -> RunConfig:
    """The configuration with these models at these commits."""
    metrics = config.evaluation.metrics
    if metrics is None:
        return config
    scorers = {
        field: scorer.model_copy(update={"revision": commits[field]})
        for field, scorer in _scorers(metrics)
        if field in commits
    }
    at_commits = {"metrics": metrics.model_copy(update=scorers)}
    return config.model_copy(update={"evaluation": config.evaluation.model_copy(update=at_commits)})


def _scorers(metrics: MetricsConfig | None) -> Iterator[tuple[str, ScoreModelConfig]]:
    for field in _FIELDS:
        scorer = getattr(metrics, field, None)
        if scorer is not None:
            yield field, scorer
