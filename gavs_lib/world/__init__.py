"""The toy shop: a miniature world of toys that are seen and heard, small enough to train on a laptop.

``objects`` draws the toys, ``sounds`` voices them, ``scenes`` puts them together, ``classes`` says which
combinations are seen in training, and ``folder`` writes everything as an AVSBench-semantic data set.
"""
