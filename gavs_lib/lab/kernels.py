"""The Jupyter kernel in which notebooks run that this process executes."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ipykernel.kernelspec import get_kernel_dict

REPOSITORY = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def this_interpreters_kernel() -> Iterator[None]:
    """Make the kernel name `python3` mean the interpreter that runs this, with the gavs_lib that is imported here.

    Jupyter would take the first kernel of that name on its search path, and a user's own (written by another
    environment) can stand first there.
    """
    before = os.environ.get("JUPYTER_PATH")
    with tempfile.TemporaryDirectory(prefix="gavs-kernel-") as folder:
        # Errors only: at each start the kernel warns of its unencrypted connection, which stays within this machine.
        spec = get_kernel_dict(["--IPKernelApp.log_level=40"], python_arguments=["-Xfrozen_modules=off"])
        paths = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
        spec["env"] = {
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            # Set to another by a batch system or a user, it would leave the notebooks without figures.
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        }
        kernel = Path(folder) / "kernels" / "python3"
        kernel.mkdir(parents=True)
        (kernel / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
        os.environ["JUPYTER_PATH"] = os.pathsep.join([folder, before] if before else [folder])
        try:
            yield
        finally:
            if before is None:
                del os.environ["JUPYTER_PATH"]
            else:
                os.environ["JUPYTER_PATH"] = before
