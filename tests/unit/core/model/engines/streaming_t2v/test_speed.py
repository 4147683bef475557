"""What is computed once, shared or run by another kernel gives the numbers of the reference network."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.resnet import TemporalConvLayer
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from core.model.engines.streaming_t2v.network import StreamingNetwork, predict_noise, predict_with_deep
from core.model.engines.streaming_t2v.sampling import (
    SamplingConfig,
    VideoContext,
    base_denoiser,
    decode_new_frames,
    sample_latents,
    window_denoiser,
)
from core.model.networks.attention import fused_attention
from core.model.networks.base_network import predict_base
from core.model.networks.blocks import convolve_along_time, upsample
from core.model.networks.kernels import dense, lay_out_for_gpu, normalise
from core.model.sampling.noise import seeded
from core.model.sampling.samplers import SamplingPlan
from core.model.sampling.schedules import make_schedule
from core.model.sampling.vae import decode_frames
from core.service.domain.engine import ignore_step
from tests.helpers.reference_network import ReferenceNetwork

CPU = torch.device("cpu")


SIZES = [(8, 12), (9, 7)]
RECIPE = SamplingConfig(SamplingPlan("ddim", 3), make_schedule(), guidance_scale=5.0)


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction] - pytest calls it
    with torch.no_grad():
        yield


def rand(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers, the same for the same arguments."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_close(actual: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    """Equal up to rounding; predictions of the tiny network deviate by about 1."""
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=tolerance)


def make_context(network: StreamingNetwork, tokens: Tensor | None) -> VideoContext:
    """Keys and values of a negative prompt and a prompt."""
    text = rand(2, 6, 12, seed=1)
    return VideoContext(network.precompute(text, tokens), text)


@pytest.fixture
def count_flops() -> Callable[[Callable[[], Any]], int]:
    """Floating-point operations of a call."""

    def count(call: Callable[[], Any]) -> int:
        with FlopCounterMode(display=False) as counter:
            call()
        return counter.get_total_flops()

    return count


@pytest.mark.parametrize("size", SIZES)
def test_the_serving_network_equals_the_reference_network(
    tiny_network: StreamingNetwork, size: tuple[int, int]
) -> None:
    net = tiny_network
    latents, text, tokens = rand(1, 4, 16, *size), rand(2, 6, 12, seed=1), rand(2, 3, 12, seed=2)
    past = rand(8, 3, 8 * size[0], 8 * size[1], seed=3)

    plain = ReferenceNetwork(net).predict(torch.cat([latents] * 2), torch.tensor(321), text, tokens, past)
    embedded = net.cam.embed_pictures(past)
    with net.use_cache(net.precompute(text, tokens)):
        served = net.predict_window(latents, torch.tensor(321), text, embedded)

    assert_close(served, plain)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("samples", "texts"), [(1, 2), (2, 4)])
def test_sharing_what_precedes_the_text_changes_nothing(
    tiny_network: StreamingNetwork, size: tuple[int, int], samples: int, texts: int
) -> None:
    net, moment = tiny_network, torch.tensor(500)
    latents, text, past = rand(samples, 4, 16, *size), rand(texts, 6, 12, seed=1), rand(8, 3, 8 * size[0], 8 * size[1])
    copies = torch.cat([latents] * (texts // samples))

    base = [predict_base(net.unet, x, moment, text) for x in (latents, copies)]
    parts = (net.unet, net.cam, net.mergers)
    window = [predict_noise(*parts, x, moment, text, None, past) for x in (latents, copies)]

    assert_close(base[0], base[1], 1e-5)
    assert_close(window[0], window[1], 1e-5)


def test_the_shared_part_is_not_computed_twice(
    tiny_network: StreamingNetwork, count_flops: Callable[[Callable[[], Any]], int]
) -> None:
    net, moment, text, past = tiny_network, torch.tensor(500), rand(2, 6, 12), rand(8, 3, 64, 96)
    single, double = rand(1, 4, 16, 8, 12), rand(2, 4, 16, 8, 12)

    @torch.enable_grad()  # the kernels of inference on a CPU are unknown to the counter
    def flops(latents: Tensor) -> int:
        return count_flops(lambda: predict_noise(net.unet, net.cam, net.mergers, latents, moment, text, None, past))

    twice = count_flops(lambda: net.unet.conv_in(rand(16, 4, 8, 12)))
    assert flops(double) - flops(single) > 2 * twice


def test_every_kernel_equals_the_layer_it_replaces() -> None:
    frames = rand(32, 16, 6, 5).contiguous(memory_format=torch.channels_last)
    temporal = TemporalConvLayer(16, norm_num_groups=4).eval()
    nn.init.normal_(cast(nn.Conv3d, temporal.conv4[-1]).weight)
    upsampler = Upsample2D(16, use_conv=True)
    linear = nn.Linear(16, 24)

    assert_close(convolve_along_time(temporal, frames, 8), temporal(frames, num_frames=8), 1e-5)
    assert_close(upsample(upsampler, frames, (12, 10)), upsampler(frames), 1e-5)
    assert_close(upsample(upsampler, frames, (11, 9)), upsampler(frames, (11, 9)), 1e-5)
    assert_close(dense(linear, rand(3, 7, 16)), linear(rand(3, 7, 16)), 1e-5)


@pytest.mark.parametrize("most", [1, 3, 7, 8])
def test_attention_in_several_calls_gives_the_same_numbers(most: int) -> None:
    queries, keys, values = (rand(7, 2, 16, 8, seed=seed) for seed in range(3))

    assert torch.equal(fused_attention(queries, keys, values, most), fused_attention(queries, keys, values, 7))


def test_normalising_keeps_its_digits_where_means_are_large() -> None:
    norm = nn.GroupNorm(4, 16)
    features = (rand(2, 16, 8, 8) + 100.0).contiguous(memory_format=torch.channels_last)

    exact = nn.functional.group_norm(features.double(), 4).float()

    assert_close(normalise(norm, features), exact, 2e-5)
    assert float((norm(features) - exact).abs().max()) > 2e-4  # why it is needed; when it fails, remove the detour


def test_the_layout_for_a_gpu_changes_no_number(tiny_network: StreamingNetwork) -> None:
    unet, latents, text = tiny_network.unet, rand(1, 4, 16, 8, 12), rand(1, 6, 12, seed=1)
    before = {name: weight.clone() for name, weight in unet.state_dict().items()}
    expected = predict_base(unet, latents, torch.tensor(500), text)

    lay_out_for_gpu(unet)

    assert all(torch.equal(weight, before[name]) for name, weight in unet.state_dict().items())
    assert_close(predict_base(unet, latents, torch.tensor(500), text), expected, 1e-5)


def test_conditioning_pictures_are_encoded_once_per_window_and_only_eight(tiny_network: StreamingNetwork) -> None:
    net, seen = tiny_network, list[tuple[int, ...]]()
    handle = net.cam.picture_encoder.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape)))
    context = make_context(net, rand(2, 3, 12, seed=2))

    denoise = window_denoiser(net, context, rand(8, 3, 64, 96), RECIPE)
    sample_latents(denoise, RECIPE, (1, 4, 16, 8, 12), CPU, seeded(1), ignore_step)

    handle.remove()
    assert seen == [(8, 3, 64, 96)]


def test_text_and_anchor_are_read_once_per_video(tiny_network: StreamingNetwork) -> None:
    net, calls = tiny_network, list[str]()

    def note(module: nn.Module, arguments: Any) -> None:
        del arguments
        calls.append(type(module).__name__)

    context = make_context(net, rand(2, 3, 12, seed=2))
    with contextlib.ExitStack() as hooks:
        for mixer in net.mixers.mixers:
            hooks.callback(mixer.register_forward_pre_hook(note).remove)
        make_context(net, rand(2, 3, 12, seed=2))
        assert len(calls) == 16
        window_denoiser(net, context, rand(8, 3, 64, 96), RECIPE)(rand(1, 4, 16, 8, 12), 500)

    assert len(calls) == 16


def test_only_new_frames_are_decoded_and_they_are_the_same(count_flops: Callable[[Callable[[], Any]], int]) -> None:
    sizes: dict[str, Any] = {"block_out_channels": (8, 8), "norm_num_groups": 4}
    sizes |= {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    vae, latents = AutoencoderKL(**sizes).eval(), rand(1, 4, 16, 8, 8)

    assert_close(decode_new_frames(vae, latents, 8), decode_frames(vae, latents[0])[8:], 1e-6)
    whole = count_flops(lambda: decode_frames(vae, latents[0]))
    assert count_flops(lambda: decode_new_frames(vae, latents, 8)) == whole // 2


def test_steps_compile_to_one_graph_for_all_videos_and_timesteps(two_level_network: StreamingNetwork) -> None:
    net, graphs = two_level_network, list[int]()

    def count_graphs(graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        graphs.append(len(inputs))
        return graph.forward

    videos = [(make_context(net, rand(2, 3, 12, seed=seed)), rand(8, 3, 64, 96, seed=seed)) for seed in (2, 3)]
    steps = [(window_denoiser(net, *video, RECIPE), timestep) for video in videos for timestep in (1, 999)]
    latents = rand(1, 4, 16, 8, 12)
    expected = [denoise(latents, timestep) for denoise, timestep in steps]

    net.compile(lambda function: torch.compile(function, fullgraph=True, backend=count_graphs, dynamic=False))

    for (denoise, timestep), plain in zip(steps, expected, strict=True):
        assert_close(denoise(latents, timestep), plain)
    assert len(graphs) == 1


def test_gradients_are_those_of_the_reference_network(tiny_network: StreamingNetwork) -> None:
    net = tiny_network
    latents, text, tokens, past = rand(2, 4, 16, 8, 12), rand(2, 6, 12), rand(2, 3, 12), rand(8, 3, 64, 96)
    weights = [*net.cam.parameters(), *net.mergers.parameters()]

    with torch.enable_grad():
        plain = ReferenceNetwork(net).predict(latents, torch.tensor(500), text, tokens, past).square().mean()
        embedded = net.cam.embed_pictures(past)
        parts = (net.unet, net.cam, net.mergers)
        served = predict_with_deep(*parts, latents, torch.tensor(500), text, tokens, embedded)[0].square().mean()
        pairs = zip(torch.autograd.grad(served, weights), torch.autograd.grad(plain, weights), strict=True)

    for ours, theirs in pairs:
        scale = float(theirs.abs().max()) + 1e-6
        assert float((ours - theirs).abs().max()) < 1e-3 * scale


def test_guidance_outside_its_interval_is_the_conditional_prediction(tiny_network: StreamingNetwork) -> None:
    context, latents = make_context(tiny_network, None), rand(1, 4, 16, 8, 12)
    unguided = base_denoiser(tiny_network, context.conditional, RECIPE)
    limited = SamplingConfig(RECIPE.plan, RECIPE.schedule, 5.0, guidance_interval=(0.3, 0.8))
    approximate, full = (base_denoiser(tiny_network, context, config) for config in (limited, RECIPE))

    levels = {t: float((1 - RECIPE.schedule.signal_at(t)) ** 0.5) for t in (20, 300, 990)}
    assert levels[20] < 0.3 < levels[300] < 0.8 < levels[990]
    for timestep, expected in ((20, unguided), (300, full), (990, unguided)):
        assert_close(approximate(latents, timestep), expected(latents, timestep), 1e-5)


def test_deep_features_are_kept_for_as_many_steps_as_asked(tiny_network: StreamingNetwork) -> None:
    context, past = make_context(tiny_network, rand(2, 3, 12, seed=2)), rand(8, 3, 64, 96)
    reusing = SamplingConfig(RECIPE.plan, RECIPE.schedule, 5.0, deep_feature_steps=2)
    full = window_denoiser(tiny_network, context, past, RECIPE)
    approximate = window_denoiser(tiny_network, context, past, reusing)

    steps = [(rand(1, 4, 16, 8, 12, seed=seed), timestep) for seed, timestep in enumerate((900, 600, 300))]
    exact = [torch.allclose(approximate(*step), full(*step), atol=1e-5) for step in steps]

    assert exact == [True, False, True]


def test_deep_features_of_the_same_step_give_the_same_prediction(tiny_network: StreamingNetwork) -> None:
    net, context = tiny_network, make_context(tiny_network, rand(2, 3, 12, seed=2))
    latents, moment, embedded = rand(1, 4, 16, 8, 12), torch.tensor(500), net.cam.embed_pictures(rand(8, 3, 64, 96))

    with net.use_cache(context.cache):
        full, deep = net.predict_window_with_deep(latents, moment, context.text_states_BLD, embedded)
        again = net.predict_window_from_deep(latents, moment, context.text_states_BLD, embedded, deep)

    assert_close(again, full, 1e-5)
