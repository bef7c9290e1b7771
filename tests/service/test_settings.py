"""Settings come from the environment or the command line, and unknown ones are refused."""

import math

import pytest
from pydantic import ValidationError

from dreamserve.errors import SettingsError
from dreamserve.settings import Settings


def test_arguments_override_the_environment_and_that_the_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DREAMSERVE_CAPACITY", "5")
    monkeypatch.setenv("DREAMSERVE_MAX_QUEUE", "6")
    settings = Settings.load(max_queue=7)
    assert (settings.capacity, settings.max_queue, settings.port) == (5, 7, 8000)


def test_an_unknown_variable_is_refused_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DREAMSERVE_CAPACTIY", "5")
    wanted = "unknown variable DREAMSERVE_CAPACTIY; did you mean DREAMSERVE_CAPACITY?"
    with pytest.raises(SettingsError) as refused:
        Settings.load()
    assert str(refused.value) == wanted


def test_a_variable_like_none_is_refused_with_those_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DREAMSERVE_XYZ", "5")
    with pytest.raises(SettingsError, match="DREAMSERVE_XYZ; known: DREAMSERVE_ACCESS_LOG, "):
        Settings.load()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("DREAMSERVE_CAPACITY", "0", "DREAMSERVE_CAPACITY is '0': Input should be greater"),
        ("DREAMSERVE_PORT", "http", "DREAMSERVE_PORT is 'http': Input should be a valid integer"),
        ("DREAMSERVE_MAX_BATCH", "10000000000", "DREAMSERVE_MAX_BATCH is .* less than or equal to"),
        ("DREAMSERVE_BACKEND", "jax", "DREAMSERVE_BACKEND is 'jax': Input should be 'auto', 'on"),
    ],
)
def test_a_bad_value_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=message) as refused:
        Settings.load()
    assert "\n" not in str(refused.value)


NUMBERS = [name for name, one in Settings.model_fields.items() if one.annotation is float]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e999", "1e300", math.inf, math.nan])
def test_numbers_are_finite_and_have_an_upper_bound(name: str, value: object) -> None:
    assert len(NUMBERS) >= 3
    with pytest.raises(SettingsError, match=r"finite number|less than or equal to|greater than"):
        Settings.load(**{name: value})


def test_a_bad_option_is_refused_by_the_name_that_was_typed() -> None:
    with pytest.raises(SettingsError, match="--session-ttl-s is 0: Input should be greater than 0"):
        Settings.load(session_ttl_s=0)


def test_every_problem_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DREAMSERVE_PROT", "5")
    monkeypatch.setenv("DREAMSERVE_THREADS", "-1")
    with pytest.raises(SettingsError) as refused:
        Settings.load(port=65536)
    for message in ("DREAMSERVE_PROT", "DREAMSERVE_THREADS is '-1'", "--port is 65536"):
        assert message in str(refused.value)


def service_links(name: str, address: str, url_address: str) -> dict[str, str]:
    """What the kubelet puts into a pod for a Service with a named port 8000."""
    url = f"tcp://{url_address}:8000"
    return {
        f"{name}_SERVICE_HOST": address,
        f"{name}_SERVICE_PORT": "8000",
        f"{name}_SERVICE_PORT_HTTP": "8000",
        f"{name}_PORT": url,
        f"{name}_PORT_8000_TCP": url,
        f"{name}_PORT_8000_TCP_PROTO": "tcp",
        f"{name}_PORT_8000_TCP_PORT": "8000",
        f"{name}_PORT_8000_TCP_ADDR": address,
    }


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.setenv(f"DREAMSERVE_{name.upper()}", "")
    assert Settings.load() == Settings()
    monkeypatch.setenv("DREAMSERVE_CAPACTY", "")
    with pytest.raises(SettingsError, match="did you mean DREAMSERVE_CAPACITY"):
        Settings.load()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("allowed_origins", "https://a.example/", "https://a.example/ is no origin"),
        ("allowed_origins", "https://a.example, b.example", "b.example is no origin"),
        ("allowed_origins", "https://me:pw@b.example", r"https://\*\*\*@b.example is no origin"),
        ("allowed_hosts", "https://a.example", "https://a.example is no name of a host"),
        ("trusted_proxies", "10.0.0.0/8, 10.1.2.3/8", "10.1.2.3/8 has host bits set"),
        ("trusted_proxies", "proxy", "'proxy' does not appear to be an IPv4 or IPv6 network"),
    ],
)
def test_an_item_of_a_list_that_could_match_nothing_is_refused(
    name: str, value: str, says: str
) -> None:
    with pytest.raises(SettingsError, match=says):
        Settings.load(**{name: value})


def test_lists_are_read_as_browsers_and_clients_write_their_items() -> None:
    listed = "https://A.Example:8443, null,"
    assert Settings.load(allowed_origins=listed).origins == {"https://a.example:8443", "null"}
    assert Settings.load(trusted_proxies="10.0.0.0/8, *").trusted_proxies == "*"
    assert Settings.load(trusted_proxies="::1,10.0.0.0/8").trusted_proxies == "::1,10.0.0.0/8"


def test_what_docker_makes_of_a_link_of_our_name_is_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = "tcp://172.17.0.5:8000"
    monkeypatch.setenv("DREAMSERVE_NAME", "/web/dreamserve")
    monkeypatch.setenv("DREAMSERVE_PORT", url)
    monkeypatch.setenv("DREAMSERVE_PORT_8000_TCP", url)
    monkeypatch.setenv("DREAMSERVE_ENV_PYTHON_VERSION", "3.11\n")
    monkeypatch.setenv("DREAMSERVE_ENV_DREAMSERVE_CAPACITY", "5")
    assert Settings.load() == Settings()


@pytest.mark.parametrize("name", ["DREAMSERVE", "DREAMSERVE_BLUE"])
@pytest.mark.parametrize(
    ("address", "in_a_url"), [("10.96.0.12", "10.96.0.12"), ("fd00::1", "[fd00::1]")]
)
def test_what_kubernetes_makes_of_a_service_of_our_name_is_ignored(
    monkeypatch: pytest.MonkeyPatch, name: str, address: str, in_a_url: str
) -> None:
    for variable, value in service_links(name, address, in_a_url).items():
        monkeypatch.setenv(variable, value)
    assert Settings.load() == Settings()


def test_a_port_that_is_a_number_counts_beside_a_service_of_our_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    links = service_links("DREAMSERVE", "10.96.0.12", "10.96.0.12")
    for variable, value in (links | {"DREAMSERVE_PORT": "9000"}).items():
        monkeypatch.setenv(variable, value)
    assert Settings.load().port == 9000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DREAMSERVE_PORT", "tcp://10.96.0.12"),
        ("DREAMSERVE_PORT", "http://10.96.0.12:8000"),
        ("DREAMSERVE_PORT", "tcp://example.com:8000"),
        ("DREAMSERVE_PORTS", "tcp://10.96.0.12:8000"),
        ("DREAMSERVE_SERVICE_HOST", "example.com"),
        ("DREAMSERVE_SERVICE_PORT", "http"),
        ("DREAMSERVE_PORT_8000_TCP", "8000"),
        ("DREAMSERVE_PORT_8000_TCP_PROTO", "http"),
    ],
)
def test_what_only_resembles_a_variable_of_kubernetes_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        Settings.load()


def test_settings_are_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings.load().port = 1  # type: ignore[misc]  # that it cannot is what is tested
