"""Token buckets: never more than promised, never less, and a true time to wait."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamserve.api.access import rate_limits
from dreamserve.api.access.rate_limits import Addresses, TokenBucket

rates = st.floats(0.01, 1000)
bursts = st.integers(1, 50)
gaps = st.lists(st.floats(0, 20), max_size=60)


@given(rate=rates, burst=bursts, pauses=gaps)
def test_no_span_of_time_has_more_than_the_burst_and_the_rate_allow(
    rate: float, burst: int, pauses: list[float]
) -> None:
    bucket, now_s, taken = TokenBucket(rate, burst), 100.0, list[float]()
    for pause_s in pauses:
        now_s += pause_s / rate
        if not bucket.take(now_s):
            taken.append(now_s)
    for i, first_s in enumerate(taken):
        for count, last_s in enumerate(taken[i:], 1):
            assert count <= burst + rate * (last_s - first_s) + 1e-3


@given(rate=rates, burst=bursts, pauses=gaps)
def test_it_is_the_bucket_with_tokens_that_are_counted(
    rate: float, burst: int, pauses: list[float]
) -> None:
    bucket, now_s, tokens = TokenBucket(rate, burst), 0.0, float(burst)
    for pause_s in pauses:
        now_s += pause_s / rate
        tokens = min(burst, tokens + pause_s)
        if abs(tokens - 1) < 1e-6:
            return  # rounding decides
        assert (bucket.take(now_s) == 0) == (tokens >= 1)
        tokens -= tokens >= 1


@given(rate=rates, burst=bursts, sent=st.integers(0, 100))
def test_the_time_to_wait_is_true(rate: float, burst: int, sent: int) -> None:
    bucket, now_s = TokenBucket(rate, burst), 5.0
    waits = [bucket.take(now_s) for _ in range(sent)]
    assert [wait == 0 for wait in waits] == [i < burst for i in range(sent)]
    if sent > burst:
        assert bucket.take(now_s + 0.5 * waits[-1]) > 0
        assert bucket.take(now_s + waits[-1]) == 0


@given(rate=rates, burst=bursts)
def test_a_client_within_the_rate_is_never_refused(rate: float, burst: int) -> None:
    bucket = TokenBucket(rate, burst)
    assert not any(bucket.take(7.0 + i / rate) for i in range(200))


def test_addresses_have_their_own_buckets_and_an_ipv6_network_has_one() -> None:
    addresses = Addresses(1, 1)
    names = ["10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8:0:0:ffff::2", "2001:db8:0:1::1"]
    one, two, six, same, other = (addresses.bucket(name, 0.0) for name in names)
    assert one is addresses.bucket("::ffff:10.0.0.1", 0.0)
    assert len({id(bucket) for bucket in (one, two, six, other)}) == 4
    assert six is same
    assert addresses.bucket("::not an address", 0.0) is not six


def test_the_number_of_addresses_is_bounded_and_full_buckets_go_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rate_limits, "MAX_ADDRESSES", 3)
    addresses = Addresses(1, 1)
    busy = addresses.bucket("busy", 0.0)
    busy.take(100.0)
    for i in range(10):
        addresses.bucket(f"a{i}", 100.0)
        assert len(addresses) <= 3
    assert addresses.bucket("busy", 100.0) is busy
    for i in range(10):
        addresses.bucket(f"b{i}", 100.0).take(100.0)
        assert len(addresses) <= 3


def test_what_is_no_address_is_remembered_by_its_first_characters() -> None:
    """A proxy that is believed may pass on what a client sent."""
    for text in ("x" * 60_000, ":" * 60_000):
        assert len(rate_limits.network_of(text)) < 50
