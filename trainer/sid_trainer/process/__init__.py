"""A process and its pod: environment, the folder of the launcher, and how a process ends."""
