"""A run from its configuration to the exported student: the loop, the same for all teachers."""
