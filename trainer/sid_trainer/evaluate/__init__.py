"""How good the student is by now: Fréchet distances, CLIP score, preference score.

Every rank samples, decodes and judges its share; only sums travel. Nothing here changes training:
noise is a function of (seed, sample), weights are shown and taken back, no global generator is
used.
"""
