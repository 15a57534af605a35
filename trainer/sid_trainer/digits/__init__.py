"""Teachers small enough for one CPU core, trained on scikit-learn's 8×8 digits, and their judge.

Real classes, real training, tiny sizes: each is a directory that a stock diffusers pipeline loads
(SD3, SANA or FLUX), so what distils it is exercised as with the large ones.
"""
