"""The soak in small: every kind of fault, and in the end nothing that shows it."""

from collections import Counter

import pytest

from tests.soak.faults import KINDS, fault_of
from tests.soak.run import soak
from tests.support.isolation import isolated_environment
from tests.support.prefect_server import prefect_harness

SCENES, SHARE = 16, 0.4


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(400)
@pytest.mark.fault(1, "SIGKILL in the middle of lifting")
@pytest.mark.fault(16, "SIGSTOP in the middle of lifting")
def test_faults_leave_no_trace_but_the_rows_of_what_is_broken(tmp_path):
    met = Counter(fault_of(f"scene-{number:05d}", SHARE) for number in range(SCENES))
    assert all(met[kind] for kind in KINDS), met
    with isolated_environment(tmp_path, OMP_NUM_THREADS="1"), prefect_harness(tmp_path):
        page, is_right = soak(tmp_path, SCENES, workers=2, share=SHARE)
    assert is_right, page
