"""The launcher: PID 1 of a training pod, and what it decides when a group breaks."""
