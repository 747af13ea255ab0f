"""What the notebooks and the Makefile call: running and pairing notebooks, predicting on a video, plots, widgets.

`python -m gavs_lib.course --help` lists the commands. This room stands on all the others and none stands on it.
"""
