"""The forms at /docs in a browser: who has a key may send them, and sees the loaded worlds."""

from typing import Any

PATIENCE_MS = 20_000


def form_of(page: Any, method: str, path: str) -> Any:
    """Open a verb's part of the page, and return its form."""
    form = page.locator(f'form[data-method="{method}"][data-path="{path}"]')
    form.locator("xpath=..").locator("summary").click()
    return form


def test_a_form_names_a_loaded_world_to_who_has_a_key(listening, browser, keys_file) -> None:
    with listening(api_keys_file=keys_file) as served:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(f"{served.url}/docs")
        with page.expect_response(lambda response: response.status == 401):
            form_of(page, "GET", "/worlds/{name}")
        named = page.locator('form[data-path="/worlds/{name}"] input[name=name]')
        assert named.input_value() == ""
        page.fill("#key", "ka")
        form_of(page, "GET", "/worlds/{name}")  # closes it
        form_of(page, "GET", "/worlds/{name}")
        page.wait_for_function(
            """document.querySelector('form[data-path="/worlds/{name}"] input').value === "fake" """
        )
        form = page.locator('form[data-method="GET"][data-path="/worlds/{name}"]')
        form.locator("button").click()
        form.locator("pre", has_text='"name": "fake"').wait_for()
        page.close()
