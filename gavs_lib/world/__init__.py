"""The toy shop: a miniature world of toys that are seen and heard, small enough to train on a laptop.

``objects`` draws the toys, ``sounds`` voices them, ``scenes`` puts them together, ``classes`` says which
combinations are seen in training, and ``folder`` writes everything as an AVSBench-semantic data set.

The same classes also come in a second style, the sketchbook: ``sketches`` draws them by another hand, ``tapes`` plays
them on other instruments, and ``boxes`` writes them as VGG-SS lies on a disk. ``drawing`` and ``synthesis`` are the
tools of both.
"""
