"""``make bench``: what an iteration costs, as ratios taken side by side and as operation counts."""
