"""Images with captions for data-aided training: found, checked, ordered, and made into latents.

``places`` finds the parts of a data set, ``tar`` and ``folder`` read one, ``census`` looks through
all of them once, ``order`` says which image is at which place, ``pixels`` makes them square, and
``latents`` brings an iteration's images to the networks.
"""
