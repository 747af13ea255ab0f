"""With several workers (`pytest -n`) each takes its share of the cores: torch in all of them at once would thrash."""

import os

# Read by torch when it is first imported, which no test module has done yet, and passed on to every process of a test.
_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
if _workers > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // _workers)))
