"""Tests on a real cluster, and what builds and runs one on this machine."""
