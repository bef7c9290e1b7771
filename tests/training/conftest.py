"""What the training tests share."""

import os

import pytest


@pytest.fixture(scope="session")
def vizdoom():
    """The game itself: skipped where it is not installed, except in CI."""
    try:
        import vizdoom
    except ImportError:
        say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        say("ViZDoom is not installed: pip install 'dreamserve-training[vizdoom]'")
    return vizdoom
