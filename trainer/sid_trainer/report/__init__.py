"""``report.html``: what a run did, in one file that needs nothing else."""

from sid_trainer.report.write import write_report

__all__ = ["write_report"]
