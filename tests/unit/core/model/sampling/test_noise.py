"""Seeds of jobs: those that requests may have, and those that older versions have stored."""

from __future__ import annotations

import pytest

from core.model.sampling.noise import seeded, seeded_for, state_of
from core.service.domain.schema import MAX_SEED


@pytest.mark.parametrize("seed", [0, MAX_SEED, 2**63 - 1])
def test_seeds_of_requests_and_of_older_jobs_have_streams_of_their_own(seed: int) -> None:
    states = [
        state_of(generator).tobytes() for generator in (seeded(seed), seeded_for(seed, "first"), seeded(seed + 1))
    ]
    assert len(set(states)) == 3
    assert state_of(seeded(seed)).tobytes() == states[0]
