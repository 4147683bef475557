"""What test_job_life.py is made of: a whole service in one thread at a time, and what must hold there.

processes.py and calls.py have processes that run one at a time; servers.py and objects.py what these share; engines.py,
worker.py and service.py what they do; jobs.py and videos.py what is asked for, and what comes of it undisturbed. All of
this judges nothing but fencing tokens. lives.py, invariants.py and ending.py judge. Nothing here knows hypothesis.
"""

import pytest

pytest.register_assert_rewrite(f"{__name__}.invariants", f"{__name__}.ending")
