"""What a run tells while it goes on: progress, metrics, log lines, bars."""
