"""A server's wall clock is set: no session ends early, and none lives for ever."""

from pathlib import Path

import pytest

import dreamserve_client as sdk

DAYS = 86_400
TTL_S = 3600  # the default


class Clock:
    """The wall clock of servers that get `variables`: the true one, plus seconds that are set."""

    def __init__(self, file: Path) -> None:
        self._file = file
        sets_the_clock = str(Path(__file__).parent / "clocks")
        self.variables = {"PYTHONPATH": sets_the_clock, "TESTS_CLOCK_FILE": str(file)}
        self.set(0)

    def set(self, ahead_s: int) -> None:
        """Set the clock to so many seconds ahead of the true one, in one write."""
        new = self._file.with_suffix(".new")
        new.write_text(str(ahead_s))
        new.replace(self._file)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path / "clock")


def assert_in_use(client: sdk.DreamClient, session_id: str, step: int) -> None:
    """Assert that a session takes this step, and counts as used just now."""
    assert client.step(session_id, 1, step=step).step == step
    assert 0 <= client.session(session_id).idle_s < 60


def test_a_clock_that_is_set_ends_no_session_and_stands_still_if_it_was_set_back_between_runs(
    new_server, clock, tmp_path
):
    server = new_server(f"sqlite:{tmp_path}/sessions.db", **clock.variables)
    with server.client(max_retries=8) as client:
        used, unused = (client.reset(seed=1).session_id for _ in range(2))
        for step, ahead_s in enumerate((-10 * DAYS, 10 * DAYS), start=1):
            clock.set(ahead_s)
            assert_in_use(client, used, step)
        server.end()
        clock.set(-10 * DAYS)
        server.start()
        assert_in_use(client, used, 3)
        server.end()
        clock.set(TTL_S + 60)
        server.start()
        for session_id in (used, unused):
            with pytest.raises(sdk.SessionExpiredError):
                client.step(session_id, 1)
