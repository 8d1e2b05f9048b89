"""When a run is stopped because its scenes all fail alike."""

import pytest

from lift3d.domain.records import SceneRecord
from lift3d.errors import BreakerError
from lift3d.runs.driver import failed_record
from lift3d.runs.failures import CircuitBreaker


@pytest.mark.fault(22, "a list of outcomes")
def test_it_opens_at_so_many_alike_and_names_the_first():
    breaker = CircuitBreaker(3)
    for number in range(2):
        breaker.record(failed_record(f"/data/{number}", "scene-format", f"'/data/{number}' holds {7 * number} files."))
    with pytest.raises(BreakerError, match=r"3 of 3 finished scenes failed alike.*'/data/0' holds 0 files"):
        breaker.record(failed_record("/data/2", "scene-format", "'/data/2' holds 100 files."))


def test_bad_scenes_among_as_many_good_ones_never_open_it():
    breaker = CircuitBreaker(3)
    for number in range(100):
        for name in (f"good-{number}", f"better-{number}"):
            breaker.record(SceneRecord(name, name, "ok"))
        breaker.record(failed_record(f"bad-{number}", "scene", "is empty."))


def test_failures_of_different_kinds_do_not_add_up():
    breaker = CircuitBreaker(3)
    for word in ("empty", "flat") * 2:
        breaker.record(failed_record(word, f"scene-{word}", f"is {word}."))
    with pytest.raises(BreakerError):
        breaker.record(failed_record("fifth", "scene-flat", "is flat."))
