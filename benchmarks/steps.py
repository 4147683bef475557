"""Times one guidance step of CAM and UNet on this machine's CPU: plain path, default path, compiled path, in one run.

The three take turns, so that a change of the machine's load meets all of them; each one's fastest turn counts. Float32,
the same weights, widths 128/256/512/512, 32x32 latents. Also counts the operations of a full-size step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.figures import Figure
from benchmarks.networks import FULL_SIZE, NARROW, Inputs, random_inputs, random_network
from core.model.engines.streaming_t2v.network import StreamingNetwork
from tests.helpers.reference_network import ReferenceNetwork

ROUNDS = 3
TIMESTEP = 500
Step = Callable[[], Tensor]


def measure(say: Callable[[str], None]) -> list[Figure]:
    """Ratios and differences of the three paths, and operations per full-size step."""
    with torch.inference_mode():
        inputs, network, compiled = random_inputs(NARROW), random_network(NARROW), random_network(NARROW)
        compiled.compile(lambda function: torch.compile(function, fullgraph=True, dynamic=False))
        paths = {
            "plain": plain_step(network, inputs),
            "default": default_step(network, inputs),
            "compiled": default_step(compiled, inputs),
        }
        results = {name: first_call(name, step, say) for name, step in paths.items()}
        seconds = take_turns(paths, ROUNDS, say)
    return [
        *flops(),
        *(seconds_figure(name, values) for name, values in seconds.items()),
        ratio_figure("default", seconds, target=1.15),
        ratio_figure("compiled", seconds, target=1.4),
        difference_figure("default", results),
        difference_figure("compiled", results),
    ]


def plain_step(network: StreamingNetwork, inputs: Inputs) -> Step:
    """A step of the plain path, from pictures and text."""
    plain, latents = ReferenceNetwork(network), torch.cat([inputs.latents_1CFHW] * 2)
    moment = torch.tensor(TIMESTEP)
    return lambda: plain.predict(latents, moment, inputs.text_2LD, inputs.tokens_2KD, inputs.past_G3PR)


def default_step(network: StreamingNetwork, inputs: Inputs) -> Step:
    """A step as the engine runs it: what no step changes was computed before."""
    embedded = network.cam.embed_pictures(inputs.past_G3PR)
    read = network.precompute(inputs.text_2LD, inputs.tokens_2KD)
    moment = torch.tensor(TIMESTEP, device=inputs.latents_1CFHW.device)

    def step() -> Tensor:
        with network.use_cache(read):
            return network.predict_window(inputs.latents_1CFHW, moment, inputs.text_2LD, embedded)

    return step


def first_call(name: str, step: Step, say: Callable[[str], None]) -> Tensor:
    """The step's prediction; compiles where there is something to compile."""
    started = time.perf_counter()
    prediction = step().clone()
    say(f"first {name} step: {time.perf_counter() - started:.1f} s")
    return prediction


def take_turns(paths: dict[str, Step], rounds: int, say: Callable[[str], None]) -> dict[str, list[float]]:
    """Seconds of every path, `rounds` times each, one after the other."""
    seconds: dict[str, list[float]] = {name: [] for name in paths}
    for turn in range(rounds):
        for name, step in paths.items():
            started = time.perf_counter()
            step()
            seconds[name].append(round(time.perf_counter() - started, 2))
        say(f"round {turn + 1} of {rounds}: " + ", ".join(f"{name} {values[-1]} s" for name, values in seconds.items()))
    return seconds


def seconds_figure(name: str, seconds: Sequence[float]) -> Figure:
    note = f"{torch.get_num_threads()} threads, widths 128/256/512/512, 32x32 latents, float32"
    return Figure(f"guidance step, {name} path", min(seconds), "s", samples=seconds, note=note)


def ratio_figure(name: str, seconds: dict[str, list[float]], target: float) -> Figure:
    ratio = min(seconds["plain"]) / min(seconds[name])
    return Figure(f"{name} path, times as fast as plain", round(ratio, 2), "x", target=target, better="higher")


def difference_figure(name: str, predictions: dict[str, Tensor]) -> Figure:
    """Largest absolute difference over all elements of the prediction of both halves."""
    plain = predictions["plain"]
    difference = float((predictions[name] - plain).abs().max())
    note = f"absolute; the plain prediction's deviation is {float(plain.std()):.2f}"
    return Figure(f"{name} path, largest difference from plain", float(f"{difference:.2g}"), "", 1e-4, note=note)


def flops() -> list[Figure]:
    """Operations of one guidance step at full size, counted on tensors without data."""
    with torch.device("meta"), torch.inference_mode():
        network, inputs = random_network(FULL_SIZE), random_inputs(FULL_SIZE)
        steps = {"plain": plain_step(network, inputs), "default": default_step(network, inputs)}
        counts = {name: count(step) for name, step in steps.items()}
    return [
        Figure("full-size step, plain path", counts["plain"], "TFLOP", note="2 per multiply-add"),
        Figure("full-size step, default path", counts["default"], "TFLOP", target=11.2),
    ]


def count(step: Callable[[], object]) -> float:
    """TFLOP of a call."""
    with FlopCounterMode(display=False) as counter:
        step()
    return round(counter.get_total_flops() / 1e12, 3)
