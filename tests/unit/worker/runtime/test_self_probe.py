"""A process decides that it has stopped consuming only if nothing else explains the silence."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.service.domain.errors import StoreUnavailable
from worker.runtime.self_probe import SelfProbe


@dataclass
class Bench:
    """A process in memory: its clock, its broker, and whether it is idle."""

    now: float = 0.0
    idle: bool = True
    broker_away: bool = False
    sent: int = 0
    probe: SelfProbe = field(init=False)

    def __post_init__(self) -> None:
        self.probe = SelfProbe(self.send, lambda: self.idle, lambda: self.now, every_seconds=5, limit_seconds=20)

    def send(self) -> None:
        if self.broker_away:
            raise StoreUnavailable
        self.sent += 1

    def pass_time(self, seconds: int) -> bool:
        """Look every second; whether the process gave itself up."""
        for _ in range(seconds):
            self.now += 1
            if self.probe.has_failed():
                return True
        return False


def test_a_process_that_receives_no_probe_exits_within_half_a_minute() -> None:
    assert Bench().pass_time(30)


def test_a_process_that_receives_its_probes_never_exits() -> None:
    bench = Bench()
    for _ in range(100):
        assert not bench.pass_time(10)
        bench.probe.received()
    assert bench.sent == 200


def test_a_lost_probe_is_no_proof_since_the_next_one_comes() -> None:
    bench = Bench()
    assert not bench.pass_time(19)
    bench.probe.received()
    assert not bench.pass_time(19)


def test_a_broker_that_is_away_explains_the_silence() -> None:
    bench = Bench()
    assert not bench.pass_time(10)
    bench.broker_away = True
    assert not bench.pass_time(600)
    bench.broker_away = False
    assert not bench.pass_time(19)


def test_a_task_explains_the_silence_and_sends_no_probes() -> None:
    bench = Bench()
    assert not bench.pass_time(10)
    bench.idle, sent = False, bench.sent
    assert not bench.pass_time(600)
    assert bench.sent == sent
    bench.idle = True
    assert not bench.pass_time(19)
    assert bench.pass_time(10)
