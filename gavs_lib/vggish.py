"""VGGish: the frozen ear F_A (Hershey et al., ICASSP 2017; GAVS section 3), and a miniature of the same make.

Weights, two conventions, one switch: the PyTorch port and AVSBench put a ReLU after the last layer (`final_relu=True`);
the TensorFlow original, and the one feature file that GAVS's authors published, have the values before it
(`final_relu=False`, the default here). PCA and 8-bit quantisation, a post-processing of the AudioSet release, are not
applied.
"""

import os
import pathlib
import pickle

import torch
from torch import Tensor, nn

from gavs_lib._shipped import shipped_weights
from gavs_lib.audio import MEL_BANDS, PATCH_FRAMES

EMBEDDING_DIM = 128
FULL_CHANNELS = (64, 128, 256, 256, 512, 512)
MINI_CHANNELS = (16, 32, 48, 48, 64, 64)
MINI_HIDDEN = 96
# Convolutions after which the picture is halved, by index among the six.
_POOL_AFTER = (0, 1, 3, 5)


class VGGish(nn.Module):
    """Six convolutions and three linear layers, from a log-mel patch to 128 numbers.

    Key names are those of the common PyTorch port: `features.{0,3,6,8,11,13}` and `embeddings.{0,2,4}`.

    Args:
        final_relu: whether a ReLU follows the last layer. False: the TensorFlow original and GAVS's published feature
            file; True: the PyTorch port and AVSBench.
        channels: output channels of the six convolutions.
        hidden: width of the two hidden linear layers.

    Shapes:
        patches: [N, 1, 96, 64] from `gavs_lib.log_mel_examples` or `second_examples`
        returns: [N, 128]

    Raises:
        ValueError: in `forward`, patches of another shape; in the constructor, not six channel counts.
    """

    def __init__(self, final_relu: bool = False, channels: tuple[int, ...] = FULL_CHANNELS, hidden: int = 4096):
        super().__init__()
        if len(channels) != 6:
            raise ValueError(f"channels has {len(channels)} entries; VGGish has six convolutions.")
        layers: list[nn.Module] = []
        width = 1
        for index, out_channels in enumerate(channels):
            layers += [nn.Conv2d(width, out_channels, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
            if index in _POOL_AFTER:
                layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
            width = out_channels
        self.features = nn.Sequential(*layers)
        flat = (PATCH_FRAMES // 16) * (MEL_BANDS // 16) * width
        self.embeddings = nn.Sequential(
            nn.Linear(flat, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, EMBEDDING_DIM),
        )
        self.final_relu = final_relu

    @classmethod
    def mini(cls, final_relu: bool = False) -> "VGGish":
        """The ear of the miniature world: the same make with 0.27 M parameters (VGGish has 72.1 M)."""
        return cls(final_relu, channels=MINI_CHANNELS, hidden=MINI_HIDDEN)

    def forward(self, patches: Tensor) -> Tensor:
        if patches.ndim != 4 or patches.shape[1:] != (1, PATCH_FRAMES, MEL_BANDS):
            raise ValueError(
                f"patches have shape {tuple(patches.shape)}; expected [N, 1, {PATCH_FRAMES}, {MEL_BANDS}]. "
                "Merge batch and time first: patches.flatten(0, 1)."
            )
        maps = self.features(patches)  # [N, C, 6, 4]
        # TensorFlow's order of the flattened map, in which the released weights were trained:
        # [N, 6, 4, C] -> [N, 24 C].
        embedding = self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))
        return torch.relu(embedding) if self.final_relu else embedding


def load_vggish(path: str | os.PathLike, final_relu: bool = False) -> VGGish:
    """Load a frozen VGGish, full or mini (recognised by the tensors' shapes), in evaluation mode.

    Args:
        path: a `.safetensors` file, or a `.pth` state dict such as the port's `vggish-10086976.pth`; or "mini" for the
            weights that come with this library.
        final_relu: see `VGGish`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is cut short, holds code instead of tensors only, or is another model's checkpoint.
    """
    path = shipped_weights("vggish_mini") if str(path) == "mini" else pathlib.Path(path)
    state = _read_state(path)
    mini = getattr(state.get("features.0.weight"), "shape", (0,))[0] == MINI_CHANNELS[0]
    with torch.device("meta"):  # 72 M parameters need no initialisation that the file overwrites
        model = VGGish.mini(final_relu) if mini else VGGish(final_relu)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    problems = [f"{name} is missing" for name in expected if name not in state]
    problems += [f"{name} is unexpected" for name in state if name not in expected]
    problems += [
        f"{name} has shape {tuple(state[name].shape)} instead of {shape}"
        for name, shape in expected.items()
        if isinstance(state.get(name), Tensor) and tuple(state[name].shape) != shape
    ]
    problems += [f"{name} is no tensor" for name in expected if name in state and not isinstance(state[name], Tensor)]
    if problems:
        more = f", and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise ValueError(
            f"{path}: not a VGGish checkpoint ({'; '.join(problems[:4])}{more}). "
            "Expected features.{0,3,6,8,11,13} and embeddings.{0,2,4} of the common PyTorch port."
        )
    model.load_state_dict({name: state[name].float() for name in expected}, assign=True)
    return model.eval().requires_grad_(False)


def _read_state(path: pathlib.Path) -> dict:
    """Read a state dict without ever running code from the file."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; expected VGGish weights (.pth or .safetensors), or 'mini' for the shipped ones."
        )
    if path.suffix == ".safetensors":
        import safetensors
        import safetensors.torch

        try:
            return safetensors.torch.load_file(path)
        except (safetensors.SafetensorError, OSError) as error:
            raise ValueError(f"{path}: not a complete safetensors file ({error}). Download it again.") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path}: not a file of tensors only; it is damaged, or a pickle that would run code, which is never "
            "loaded. "
            "Download the state dict again from its publisher."
        ) from error
    except Exception as error:  # RuntimeError, EOFError, KeyError and others: whatever the bytes lead the reader to
        raise ValueError(f"{path}: cut short or not a PyTorch file ({error}). Download it again.") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path}: holds a {type(state).__name__}; expected a state dict of VGGish.")
    return state
