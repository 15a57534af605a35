"""A teacher small enough for one CPU core, trained on scikit-learn's 8×8 digits, and its judge.

Real classes, real training, tiny sizes: the teacher is a ``StableDiffusion3Pipeline`` directory
that the stock pipeline loads, so what distils it is exercised as with the large ones.
"""
