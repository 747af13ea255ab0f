"""With several workers (`pytest -n`) each takes its share of the cores: torch in all of them at once would thrash.

And a publisher's server for every module that fetches something.
"""

import os

import pytest
from local_server import LocalServer

# Read by torch when it is first imported, which no test module has done yet, and passed on to every process of a test.
_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
if _workers > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // _workers)))


@pytest.fixture
def site(monkeypatch):
    """A server on this machine; nobody's own settings or proxies, and no pauses between attempts."""
    for name in ("GAVS_CACHE", "GAVS_MIRROR", "GAVS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("gavs_lib.data.fetch._PAUSE", 0.0)
    site = LocalServer()
    yield site
    site.close()
