"""How the tests are shared out among processes (`pytest -n`), and what hypothesis may draw."""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# The same examples every time, and none too slow: a suite must not fail by chance, or by another's
# load. `pytest --hypothesis-profile=search` draws others.
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", settings.get_profile("search"), derandomize=True, database=None)
settings.load_profile("same")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """By file, but all of tests/kernel to one process: it boots one machine, not one a process."""
    from xdist.scheduler import LoadFileScheduling

    if config.getvalue("dist") != "loadfile":
        return None

    class OneMachine(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return "tests/kernel" if file.startswith("tests/kernel/") else file

    return OneMachine(config, log)
