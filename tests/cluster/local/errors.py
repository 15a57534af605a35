"""The one exception that the command line turns into a message instead of a traceback."""


class ClusterError(Exception):
    """Something that the person at the terminal can read and act on."""
