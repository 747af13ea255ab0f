"""build_sam: official key names, any input size, and files that are not what they should be."""

import os

import pytest
import torch
from safetensors.torch import save_file
from segment_anything import sam_model_registry
from segment_anything.modeling.image_encoder import add_decomposed_rel_pos
from small_models import clip, lively_sam

import gavs_lib.sam
from gavs_lib.sam import SAM_SIZES, build_sam, fuse_attention, read_state_dict, resize_positions


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "mini.pth"
    torch.save(lively_sam().state_dict(), path)
    return path


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h"])
def test_official_models_have_the_official_names_and_shapes(name):
    with torch.device("meta"):
        ours, theirs = build_sam(name).state_dict(), sam_model_registry[name]().state_dict()
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in theirs.items()}


@pytest.mark.parametrize("size", [64, 128, 192])
def test_mini_works_at_any_multiple_of_its_patch(size):
    sam = build_sam("mini", image_size=size).eval()
    embedding = sam.image_encoder(torch.rand(1, 3, size, size))
    assert embedding.shape == (1, 128, size // 8, size // 8)
    assert sam.prompt_encoder.image_embedding_size == (size // 8, size // 8)
    assert sam.prompt_encoder.mask_input_size == (size // 2, size // 2)
    batch = [
        {"image": torch.rand(3, size, size), "original_size": (size, size), "boxes": torch.tensor([[9.0, 9, 40, 40]])}
    ]
    assert sam(batch, multimask_output=False)[0]["masks"].shape == (1, 1, size, size)


def test_a_vit_b_at_224_has_fourteen_patches_a_side():
    with torch.device("meta"):
        encoder = build_sam("vit_b", image_size=224).image_encoder
    assert encoder.pos_embed.shape == (1, 14, 14, 768)
    assert encoder.blocks[2].attn.rel_pos_h.shape == (27, 64)


def test_positions_at_their_own_size_are_returned_as_they_are():
    state = lively_sam().state_dict()
    resized = resize_positions(state, 16, SAM_SIZES["mini"].global_blocks)
    assert resized.keys() == state.keys()
    assert all(resized[key] is state[key] for key in state)


def test_only_the_global_blocks_change_their_relative_positions(checkpoint):
    before, after = torch.load(checkpoint), build_sam("mini", checkpoint, image_size=192).state_dict()
    changed = {key for key in before if before[key].shape != after[key].shape}
    global_positions = {f"image_encoder.blocks.{i}.attn.rel_pos_{axis}" for i in (1, 3, 5) for axis in "hw"}
    assert changed == {"image_encoder.pos_embed"} | global_positions
    assert all(torch.equal(before[key], after[key]) for key in before.keys() - changed)


def test_resized_relative_positions_are_those_sam_would_interpolate_itself():
    sam = lively_sam()
    resized = resize_positions(sam.state_dict(), 24, (1, 3, 5))
    attention = sam.image_encoder.blocks[1].attn
    q, logits = torch.randn(1, 24 * 24, 32), torch.zeros(1, 24 * 24, 24 * 24)
    theirs = add_decomposed_rel_pos(logits, q, attention.rel_pos_h, attention.rel_pos_w, (24, 24), (24, 24))
    ours = [resized[f"image_encoder.blocks.1.attn.rel_pos_{axis}"] for axis in "hw"]
    torch.testing.assert_close(add_decomposed_rel_pos(logits, q, *ours, (24, 24), (24, 24)), theirs)


def test_resized_absolute_positions_keep_a_constant_constant():
    state = lively_sam().state_dict()
    state["image_encoder.pos_embed"] = torch.full_like(state["image_encoder.pos_embed"], 0.7)
    resized = resize_positions(state, 9, (1, 3, 5))["image_encoder.pos_embed"]
    assert resized.shape == (1, 9, 9, 128)
    torch.testing.assert_close(resized, torch.full_like(resized, 0.7))


def test_half_precision_weights_become_float32_and_safetensors_load(tmp_path):
    half = {key: value.half() for key, value in lively_sam().state_dict().items()}
    save_file(half, tmp_path / "mini.safetensors")
    loaded = build_sam("mini", tmp_path / "mini.safetensors").state_dict()
    assert all(torch.equal(loaded[key], half[key].float()) for key in half)


def test_shipped_weights_are_those_of_the_package(checkpoint, monkeypatch):
    monkeypatch.setattr(gavs_lib.sam, "shipped_weights", lambda name: {"sam_mini": checkpoint}[name])
    assert torch.equal(build_sam("mini", "shipped").image_encoder.pos_embed, lively_sam().image_encoder.pos_embed)
    with pytest.raises(ValueError, match="Only 'mini' has shipped weights"):
        build_sam("vit_b", "shipped")


def test_another_model_than_asked_for_is_named(checkpoint, tmp_path):
    with pytest.raises(ValueError, match=r"mini\.pth: holds mini, you asked for vit_b"):
        build_sam("vit_b", checkpoint)
    large = {"image_encoder.pos_embed": torch.zeros(1, 64, 64, 1024)}
    large |= {f"image_encoder.blocks.{i}.norm1.bias": torch.zeros(1) for i in range(24)}
    torch.save(large, tmp_path / "large.pth")
    with pytest.raises(ValueError, match="holds vit_l, you asked for vit_b"):
        build_sam("vit_b", tmp_path / "large.pth")
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "vggish.pth")
    with pytest.raises(ValueError, match="not a SAM checkpoint"):
        build_sam("mini", tmp_path / "vggish.pth")


@pytest.mark.parametrize("name", ["mask_decoder.iou_token.weight", "image_encoder.blocks.1.attn.rel_pos_h"])
def test_a_checkpoint_with_missing_names_is_refused(tmp_path, name):
    state = lively_sam().state_dict()
    del state[name]
    torch.save(state, tmp_path / "partial.pth")
    with pytest.raises(ValueError, match=name):
        build_sam("mini", tmp_path / "partial.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_cut_short_is_named(suffix, tmp_path):
    state, path = lively_sam().state_dict(), tmp_path / f"cut{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="cut short"):
        build_sam("mini", path)


class _RunsCode:
    def __reduce__(self):
        return os.mkdir, (os.environ["FORBIDDEN_FOLDER"],)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv("FORBIDDEN_FOLDER", str(tmp_path / "ran"))
    torch.save({"image_encoder.pos_embed": _RunsCode()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="code in it"):
        build_sam("mini", tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


def test_a_file_of_something_else_is_refused(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="found list"):
        read_state_dict(tmp_path / "list.pth")
    with pytest.raises(FileNotFoundError, match="nowhere.pth"):
        build_sam("mini", tmp_path / "nowhere.pth")


def test_unknown_names_and_sizes_are_refused():
    with pytest.raises(ValueError, match="'vit_x' is unknown; expected one of vit_b"):
        build_sam("vit_x")
    for size in (100, 0, -8):
        with pytest.raises(ValueError, match=f"image_size is {size}; mini needs a positive multiple of its patch, 8"):
            build_sam("mini", image_size=size)


@pytest.mark.parametrize("size", [128, 200])  # 200: 25 patches, whose windows are padded
def test_fused_attention_gives_the_numbers_and_gradients_of_sams_own(size):
    images = clip(1, 2, size)[0][0] / 255
    weights = torch.randn(2, 128, size // 8, size // 8, generator=torch.Generator().manual_seed(3))
    results = []
    for sam in (lively_sam(size), fuse_attention(lively_sam(size))):
        embedding = sam.image_encoder(images)
        (embedding * weights).sum().backward()
        results.append((embedding.detach(), {n: p.grad for n, p in sam.image_encoder.named_parameters()}))
    (eager, eager_grads), (fused, fused_grads) = results
    assert (fused - eager).norm() <= 1e-4 * eager.norm()
    assert eager_grads.keys() == fused_grads.keys()
    assert all((fused_grads[n] - g).norm() <= 1e-4 * g.norm() + 1e-9 for n, g in eager_grads.items())
