"""What the notebooks and the Makefile call: running and pairing notebooks, the report, plots and widgets,
predicting on a video, assignments.

`python -m gavs_lib.course --help` lists the commands. This room stands on all the others and none stands on it.
"""
