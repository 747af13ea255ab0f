"""The core stays small: what importing it loads, and that importing the package loads nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

import gavs_lib

ROOT = Path(gavs_lib.__file__).parents[1]
CORE = ("audio", "vggish", "sam", "adapters", "prompt", "decoder", "gavs", "baselines", "losses", "metrics")


def loaded_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after a statement."""
    code = f"import sys\n{statement}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_the_core_loads_no_pandas_matplotlib_ipython_or_accelerate():
    loaded = loaded_after("\n".join(f"import gavs_lib.{room}" for room in CORE))
    assert {"torch", "segment_anything"} <= loaded
    assert not loaded & {"pandas", "matplotlib", "IPython", "accelerate"}


def test_importing_the_package_loads_no_torch():
    assert "torch" not in loaded_after("import gavs_lib")


def test_the_public_names_are_there():
    for name in (
        "build_sam",
        "VGGish",
        "load_vggish",
        "log_mel_examples",
        "GAVS",
        "GAVSConfig",
        "AudioSAM",
        "SAMFusion",
    ):
        assert callable(getattr(gavs_lib, name))
        assert name in dir(gavs_lib)
    assert callable(gavs_lib.losses.semantic_loss) and callable(gavs_lib.metrics.mask_iou)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gavs_lib.nothing
