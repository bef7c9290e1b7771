"""Long work: what runs next, what waits, and what must come again, when."""

import pytest

from dreamserve.engine.scheduling.jobs import LATER_EVERY, SMALL_BYTES, Ask, Jobs
from dreamserve_protocol.errors import OverloadedError

SOON = Ask()


def paced(pace_s: float, max_jobs: int = 8, max_wait_s: float = 100.0) -> Jobs[str]:
    """Return jobs that have learnt that a step takes `pace_s`."""
    jobs: Jobs[str] = Jobs(max_jobs, max_wait_s)
    for _ in range(60):  # until the first guess counts for nothing
        jobs.begin("past", later(1000), 0, now_s=0.0)
        jobs.serve(["past"], 1000 * pace_s)
        jobs.end("past", completed=True)
    assert jobs.pace_s == pytest.approx(pace_s, rel=1e-3)
    return jobs


def later(steps: int) -> Ask:
    return Ask(steps, soon=False)


def test_equal_long_work_runs_one_after_another() -> None:
    jobs = paced(0.001)
    for second, name in enumerate("abc"):
        jobs.begin(name, later(1000), 0, now_s=second)
    for _ in range(20):
        assert jobs.order() == ["a", "b", "c"]
        jobs.serve(["a"], 0.01)
    jobs.end("a", completed=True)
    assert jobs.order() == ["b", "c"]


def test_short_work_passes_long_work_that_has_just_arrived() -> None:
    jobs = paced(0.001)
    jobs.begin("huge", later(30_000), 0, now_s=0.0)
    jobs.begin("small", later(100), 0, now_s=1.0)
    assert jobs.order() == ["small", "huge"]


def test_long_work_is_not_passed_by_what_arrives_after_its_own_duration() -> None:
    jobs = paced(0.001)
    jobs.begin("huge", later(30_000), 0, now_s=0.0)
    jobs.begin("early", later(100), 0, now_s=29.0)
    jobs.begin("late", later(100), 0, now_s=30.0)
    assert jobs.order() == ["early", "huge", "late"]


def test_work_that_is_waited_for_shares_the_time_and_leads_all_but_some_slices() -> None:
    jobs = paced(0.001)
    jobs.begin("plan", later(1000), 0, now_s=0.0)
    for name in "xy":
        jobs.begin(name, SOON, 0, now_s=1.0)
    led = []
    for _ in range(6 * LATER_EVERY):
        first = jobs.order()[0]
        jobs.serve([first], 0.001)
        led.append(first)
    assert led.count("plan") == 6
    assert led.count("x") == led.count("y") == 3 * (LATER_EVERY - 1)


def test_a_short_budget_is_served_soon_however_much_work_waits() -> None:
    jobs = paced(0.001, max_wait_s=10.0)
    jobs.begin("huge", later(10**6), 0, now_s=0.0)
    with pytest.raises(OverloadedError):
        jobs.admit(later(2 * 10**6), now_s=0.0)
    jobs.admit(Ask(10**6, True, 0.02), now_s=0.0)


def test_a_refusal_says_when_the_wait_will_be_short_enough() -> None:
    jobs = paced(0.001, max_wait_s=10.0)
    for name in "abc":
        jobs.begin(name, later(5000), 0, now_s=0.0)
    with pytest.raises(OverloadedError, match=r"wait for 15\.0 s, the limit is 10 s") as refusal:
        jobs.admit(later(5000), now_s=0.0)
    assert refusal.value.retry_after_s == pytest.approx(5.0, rel=0.01)
    jobs.serve(["a"], 4.0)
    with pytest.raises(OverloadedError) as refusal:
        jobs.admit(later(5000), now_s=4.0)
    assert refusal.value.retry_after_s == pytest.approx(1.0, rel=0.01)
    jobs.serve(["a"], 1.0)
    jobs.end("a", completed=True)
    jobs.admit(later(5000), now_s=5.0)  # it was true


def test_a_full_lane_says_when_the_first_place_is_free() -> None:
    jobs = paced(0.001, max_jobs=2)
    for name in "ab":
        jobs.begin(name, later(5000), 0, now_s=0.0)
    jobs.serve(["a"], 3.0)
    with pytest.raises(OverloadedError, match="2 plans, samples, rollouts or batches") as refusal:
        jobs.admit(later(1), now_s=3.0)
    assert refusal.value.retry_after_s == pytest.approx(2.0, rel=0.01)
    jobs.admit(SOON, now_s=3.0)  # the other lane is free


def test_requests_in_the_queue_count_as_jobs() -> None:
    jobs = paced(0.001, max_jobs=2)
    for _ in range(2):
        jobs.admit(later(1), now_s=0.0)
    with pytest.raises(OverloadedError):
        jobs.admit(later(1), now_s=0.0)
    jobs.arrive(later(1))
    jobs.admit(later(1), now_s=0.0)


def test_of_the_large_work_one_is_begun_at_a_time() -> None:
    jobs = paced(0.001)
    for second, name in enumerate(("small", "large", "larger")):
        memory_bytes = 0 if name == "small" else SMALL_BYTES + 1
        jobs.begin(name, later(1000), memory_bytes, now_s=second)
    assert jobs.order() == ["small", "large"]
    jobs.serve(["large"], 0.01)
    jobs.begin("urgent", later(1), SMALL_BYTES + 1, now_s=1.5)
    assert "urgent" not in jobs.order()
    jobs.end("large", completed=True)
    assert "urgent" in jobs.order()


def test_work_that_failed_or_had_a_budget_teaches_no_pace() -> None:
    jobs = paced(0.001)
    for ask, completed in ((later(1000), False), (Ask(1000, True, 0.02), True)):
        jobs.begin("a", ask, 0, now_s=0.0)
        jobs.serve(["a"], 50.0)
        jobs.end("a", completed)
    assert jobs.pace_s == pytest.approx(0.001, rel=1e-3)
