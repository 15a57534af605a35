"""``report.html``: what a run did, in one file that needs nothing else."""

from sid_trainer.report.write import report_key, write_report

__all__ = ["report_key", "write_report"]
