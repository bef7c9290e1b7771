"""Settings come from the environment or the command line, and unknown ones are refused."""

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
    with pytest.raises(SettingsError, match="unknown variable DREAMSERVE_CAPACTIY; known: "):
        Settings.load()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("DREAMSERVE_CAPACITY", "0", "DREAMSERVE_CAPACITY: Input should be greater"),
        ("DREAMSERVE_PORT", "http", "DREAMSERVE_PORT: Input should be a valid integer"),
        ("DREAMSERVE_BACKEND", "jax", "DREAMSERVE_BACKEND: Input should be 'auto', 'onnx', 't"),
    ],
)
def test_a_bad_value_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=message) as refused:
        Settings.load()
    assert "\n" not in str(refused.value)


def test_settings_are_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings.load().port = 1  # type: ignore[misc]  # that it cannot is what is tested
