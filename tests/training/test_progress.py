"""Progress lines."""

import logging

import pytest

from dreamserve_training import progress


@pytest.fixture
def clock(monkeypatch):
    """Return a list that holds the time in seconds."""
    now_s = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now_s[0])
    return now_s


def test_the_time_left_does_not_count_the_start_of_workers(clock, caplog):
    caplog.set_level(logging.INFO)
    told = progress.log_progress("play")
    for now_s, done in [(0, 0), (60, 1), (65, 2), (71, 3), (72, 100)]:
        clock[0] = float(now_s)
        told(done, 100)
    assert caplog.messages == ["play 1/100  ", "play 3/100  9 min left", "play 100/100  0 s left"]


def test_items_of_an_earlier_run_do_not_count_into_the_rate(clock, caplog):
    caplog.set_level(logging.INFO)
    told = progress.log_progress("play")
    for now_s, done in [(0, 90), (1, 91), (21, 93)]:
        clock[0] = float(now_s)
        told(done, 100)
    assert caplog.messages == ["play 93/100  70 s left"]
