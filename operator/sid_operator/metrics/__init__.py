"""What the operator tells Prometheus: of its own work, and of the runs that it serves."""
