"""The project's own tests stand on the plugin that it ships."""

import gc

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["greensock.testing", "connections", "program", "foreign"]

# How long an example takes says something about the machine, and nothing about greensock.
settings.register_profile("greensock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("greensock")


def pytest_collection_finish() -> None:
    """After each test all objects are looked at, for greenlets that are left. Those of modules are many, and none."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish() -> None:
    """Others, too, look for objects by the garbage collector."""
    gc.unfreeze()
