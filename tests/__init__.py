"""Tests: unit, integration (real libraries in one process), cluster (real Kubernetes)."""
