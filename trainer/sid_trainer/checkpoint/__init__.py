"""Checkpoints: each rank's part as an object, and a manifest that makes them one.

A checkpoint is ``checkpoints/iter-00001000/`` below the run's folder, with the parts under
``attempt-0002/`` and ``manifest.json``, which is written last: without it there is no checkpoint.

Nothing is imported here: what only lists or removes checkpoints goes without torch.
"""
