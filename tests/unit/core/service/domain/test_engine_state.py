"""EngineState: small, frozen, and the same bytes for the same state, so that any worker can continue any job."""

import numpy as np

from core.service.domain.engine import EngineState


def test_state_survives_serialisation() -> None:
    state = EngineState(
        16, {"anchor": np.arange(6, dtype=np.float32).reshape(2, 3), "rng": np.arange(4, dtype=np.uint8)}
    )
    loaded = EngineState.from_bytes(state.to_bytes())
    assert loaded.frames_done == 16
    np.testing.assert_array_equal(loaded.arrays["anchor"], state.arrays["anchor"])
    assert loaded.arrays["rng"].dtype == np.uint8


def test_equal_states_give_equal_bytes_whatever_the_order_of_their_arrays() -> None:
    one, two = np.ones(2, dtype=np.float32), np.zeros(3, dtype=np.float32)
    assert EngineState(8, {"a": one, "b": two}).to_bytes() == EngineState(8, {"b": two, "a": one}).to_bytes()


def test_views_serialise_like_copies() -> None:
    frames = np.arange(24, dtype=np.float32).reshape(4, 6)
    assert EngineState(1, {"x": frames[:, ::2]}).to_bytes() == EngineState(1, {"x": frames[:, ::2].copy()}).to_bytes()
