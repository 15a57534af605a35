"""Models and files that a user names, brought to this node, and their weights read from there."""
