"""A process, its pod, the other ranks of its run, and how it ends."""
