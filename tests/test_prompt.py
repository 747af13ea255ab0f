"""The semantic-aware audio prompt: equations 1 and 2, the three forms of noise, and padding."""

import pytest
import torch

from gavs_lib.prompt import SemanticAwareAudioPrompt, global_average_pool


def two_layers(mlp, x):
    return torch.relu(x @ mlp[0].weight.T + mlp[0].bias) @ mlp[2].weight.T + mlp[2].bias


@pytest.fixture()
def inputs():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 16, 4, 4, generator=generator), torch.randn(3, 8, generator=generator)


def test_the_prompt_is_equation_1_then_2_then_a_projection(inputs):
    image_embedding, audio = inputs
    prompt = SemanticAwareAudioPrompt(visual_dim=16, audio_dim=8, noise_dim=5, hidden=6)
    token, cue = prompt(image_embedding, audio)
    assert token.shape == (3, 1, 16)
    for n in range(3):
        pooled = torch.stack([image_embedding[n, c].sum() / 16 for c in range(16)])
        expected_cue = two_layers(prompt.cue, pooled)
        joined = torch.cat([expected_cue, prompt.noise, audio[n]])
        torch.testing.assert_close(cue[n], expected_cue)
        torch.testing.assert_close(token[n, 0], two_layers(prompt.projection, joined))


def test_the_widths_are_those_of_the_paper_by_default():
    prompt = SemanticAwareAudioPrompt()
    assert [layer.weight.shape for layer in (prompt.cue[0], prompt.cue[2])] == [(512, 256), (128, 512)]
    assert [layer.weight.shape for layer in (prompt.projection[0], prompt.projection[2])] == [(512, 384), (256, 512)]


def test_learned_noise_adds_nothing_but_a_bias(inputs):
    prompt = SemanticAwareAudioPrompt(16, 8, 5, 6, noise="parameter")
    plain = SemanticAwareAudioPrompt(16, 8, 5, 6, noise="none")
    plain.cue.load_state_dict(prompt.cue.state_dict())
    first, second = prompt.projection[0], plain.projection[0]
    with torch.no_grad():
        second.weight.copy_(torch.cat([first.weight[:, :8], first.weight[:, 13:]], dim=1))
        second.bias.copy_(first.bias + first.weight[:, 8:13] @ prompt.noise)
    plain.projection[2].load_state_dict(prompt.projection[2].state_dict())
    torch.testing.assert_close(prompt(*inputs)[0], plain(*inputs)[0])


def test_gaussian_noise_is_drawn_in_training_and_zero_in_evaluation(inputs):
    prompt = SemanticAwareAudioPrompt(16, 8, 5, 6, noise="gaussian").train()
    same_frame = inputs[0][:1].expand(2, -1, -1, -1), inputs[1][:1].expand(2, -1)
    token, cue = prompt(*same_frame)
    assert torch.equal(cue[0], cue[1]) and not torch.equal(token[0], token[1])
    token, cue = prompt.eval()(*same_frame)
    joined = torch.cat([cue[0], torch.zeros(5), same_frame[1][0]])
    torch.testing.assert_close(token[1, 0], two_layers(prompt.projection, joined))


def test_without_cue_and_noise_the_token_is_a_projection_of_the_audio(inputs):
    prompt = SemanticAwareAudioPrompt(16, 8, hidden=6, noise="none", cue=False)
    token, cue = prompt(*inputs)
    assert cue is None
    torch.testing.assert_close(token[:, 0], two_layers(prompt.projection, inputs[1]))
    assert {name.split(".")[0] for name, _ in prompt.named_parameters()} == {"projection"}


def test_padding_does_not_enter_the_visual_cue(inputs):
    image_embedding = inputs[0]
    visible = torch.ones(3, 4, 4)
    visible[:, 3:] = 0
    padded = image_embedding.clone()
    padded[:, :, 3:] = 1e6
    pooled = global_average_pool(padded, visible)
    torch.testing.assert_close(pooled, image_embedding[:, :, :3].mean(dim=(2, 3)))
    assert torch.equal(global_average_pool(image_embedding), image_embedding.mean(dim=(2, 3)))


def test_an_unknown_noise_is_refused():
    with pytest.raises(ValueError, match="noise is 'pink'; expected one of parameter, gaussian, none"):
        SemanticAwareAudioPrompt(noise="pink")
