"""Times one guidance step of CAM and UNet on this machine's CPU: reference, default and compiled network.

The three take turns in one run, so that a change of the machine's load affects all of them; each one's fastest turn
counts. Float32, the same weights, widths 128/256/512/512, 32x32 latents. Also counts operations of a full-size step.
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
    """Ratios and differences of the three networks, and operations per full-size step."""
    with torch.inference_mode():
        inputs, network, compiled = random_inputs(NARROW), random_network(NARROW), random_network(NARROW)
        compiled.compile(lambda function: torch.compile(function, fullgraph=True, dynamic=False))
        steps = {
            "reference": reference_step(network, inputs),
            "default": default_step(network, inputs),
            "compiled": default_step(compiled, inputs),
        }
        results = {name: first_call(name, step, say) for name, step in steps.items()}
        seconds = take_turns(steps, ROUNDS, say)
    return [
        *flops(),
        *(seconds_figure(name, values) for name, values in seconds.items()),
        ratio_figure("default", seconds, target=1.15),
        ratio_figure("compiled", seconds, target=1.4),
        difference_figure("default", results),
        difference_figure("compiled", results),
    ]


def reference_step(network: StreamingNetwork, inputs: Inputs) -> Step:
    """A step of the reference network, from conditioning frames and text."""
    reference, latents = ReferenceNetwork(network), torch.cat([inputs.latents_1CFHW] * 2)
    moment = torch.tensor(TIMESTEP)
    return lambda: reference.predict(latents, moment, inputs.text_2LD, inputs.tokens_2KD, inputs.past_G3PR)


def default_step(network: StreamingNetwork, inputs: Inputs) -> Step:
    """A step as the engine runs it: what is the same in every step is computed before."""
    embedded = network.cam.embed_pictures(inputs.past_G3PR)
    read = network.precompute(inputs.text_2LD, inputs.tokens_2KD)
    moment = torch.tensor(TIMESTEP, device=inputs.latents_1CFHW.device)

    def step() -> Tensor:
        with network.use_cache(read):
            return network.predict_window(inputs.latents_1CFHW, moment, inputs.text_2LD, embedded)

    return step


def first_call(name: str, step: Step, say: Callable[[str], None]) -> Tensor:
    """The step's prediction; the first call of a compiled network compiles it."""
    started = time.perf_counter()
    prediction = step().clone()
    say(f"first {name} step: {time.perf_counter() - started:.1f} s")
    return prediction


def take_turns(steps: dict[str, Step], rounds: int, say: Callable[[str], None]) -> dict[str, list[float]]:
    """Seconds of a step of every network, `rounds` times each, in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            seconds[name].append(round(time.perf_counter() - started, 2))
        say(f"round {turn + 1} of {rounds}: " + ", ".join(f"{name} {values[-1]} s" for name, values in seconds.items()))
    return seconds


def seconds_figure(name: str, seconds: Sequence[float]) -> Figure:
    note = f"{torch.get_num_threads()} threads, widths 128/256/512/512, 32x32 latents, float32"
    return Figure(f"guidance step, {name} network", min(seconds), "s", samples=seconds, note=note)


def ratio_figure(name: str, seconds: dict[str, list[float]], target: float) -> Figure:
    ratio = min(seconds["reference"]) / min(seconds[name])
    return Figure(
        f"{name} network, times as fast as the reference", round(ratio, 2), "x", target=target, better="higher"
    )


def difference_figure(name: str, predictions: dict[str, Tensor]) -> Figure:
    """Largest absolute difference over all elements of the prediction of both halves."""
    reference = predictions["reference"]
    difference = float((predictions[name] - reference).abs().max())
    note = f"absolute; the reference prediction's standard deviation is {float(reference.std()):.2f}"
    return Figure(
        f"{name} network, largest difference from the reference", float(f"{difference:.2g}"), "", 1e-4, note=note
    )


def flops() -> list[Figure]:
    """Operations of one guidance step at full size, counted on tensors without data."""
    with torch.device("meta"), torch.inference_mode():
        network, inputs = random_network(FULL_SIZE), random_inputs(FULL_SIZE)
        steps = {"reference": reference_step(network, inputs), "default": default_step(network, inputs)}
        counts = {name: count(step) for name, step in steps.items()}
    return [
        Figure("full-size step, reference network", counts["reference"], "TFLOP", note="2 per multiply-add"),
        Figure("full-size step, default network", counts["default"], "TFLOP", target=11.2),
    ]


def count(step: Callable[[], object]) -> float:
    """TFLOP of one call."""
    with FlopCounterMode(display=False) as counter:
        step()
    return round(counter.get_total_flops() / 1e12, 3)
