"""What docs/deploy.md says of nginx works as it is written, beside what distributions install."""

import json
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from dreamserve.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
PROXY = (ROOT / "deploy/nginx/proxy.conf").read_text()
# What Debian and nginx.org install; `root` leads nowhere.
DEFAULT_SITES = {
    "sites-enabled/default": "server { listen 80 default_server; listen [::]:80 default_server;"
    " server_name _; root /nowhere; }",
    "conf.d/default.conf": "server { listen 80; server_name localhost; root /nowhere; }",
}


@pytest.fixture
def machine(tmp_path, commands) -> Path:
    """Return the /etc of a machine on which the section's commands were run, but systemctl."""
    etc = tmp_path / "etc"
    for folder in ("nginx/sites-enabled", "nginx/conf.d", "systemd/system"):
        (etc / folder).mkdir(parents=True)
    for name, text in DEFAULT_SITES.items():
        (etc / "nginx" / name).write_text(text)
    for command in commands("Several servers on one machine"):
        if not command.startswith("systemctl "):
            command = re.sub(r"(?<=\s)/etc/", f"{etc}/", command)
            subprocess.run(["bash", "-c", command], cwd=ROOT, check=True, timeout=60)
    return etc


def test_remote_clients_of_several_servers_on_one_machine_are_served_by_their_names(
    machine, listening, running_nginx
):
    variables = dict(
        line.split("=", 1) for line in (machine / "dreamserve.env").read_text().splitlines()
    )
    settings = {name.removeprefix(PREFIX).lower(): value for name, value in variables.items()}
    host = settings["allowed_hosts"]
    sites = sorted([*machine.glob("nginx/conf.d/*.conf"), *machine.glob("nginx/sites-enabled/*")])
    text = "\n".join(site.read_text() for site in sites)
    with listening(**settings) as one, listening(**settings) as other:
        text = text.replace(":8001", f":{one.port}").replace(":8002", f":{other.port}")
        with running_nginx(text) as url:
            for _ in range(8):
                answer = httpx.get(f"{url}/worlds", headers={"Host": host})
                assert answer.status_code == 200, answer.text
            assert httpx.get(f"{url}/metrics", headers={"Host": host}).status_code == 404
            page = f"http://{host}"
            assert page in settings["allowed_origins"].split(",")
            assert stream_status(url, origin=page) == 200


def test_the_site_of_the_machine_is_served_whatever_the_distribution_left_in_conf_d(
    machine, running_nginx
):
    own = (machine / "nginx/conf.d/dreamserve.conf").read_text()
    own = re.sub(r"127.0.0.1:800\d", "127.0.0.1:1", own)  # where nobody listens
    with running_nginx(DEFAULT_SITES["conf.d/default.conf"] + own) as url:
        assert httpx.get(url, headers={"Host": "dreams.example.com"}).status_code == 502


def test_the_lines_for_a_path_serve_requests_and_web_sockets(
    section, nginx_faults, running_nginx, listening
):
    (text,) = re.findall(r"^```nginx\n(.*?)^```", section("Behind a load balancer"), re.M | re.S)
    assert nginx_faults(text) == ""
    with listening(root_path="/dreams") as served:
        text = text.replace(":8000", f":{served.port}")
        with running_nginx(text) as url:
            assert httpx.get(f"{url}/dreams/worlds").status_code == 200
            assert httpx.get(f"{served.url}/metrics").status_code == 200
            for path in ("/metrics", "//metrics", "/dreams/metrics", "/%6Detrics"):
                assert httpx.get(f"{url}/dreams{path}").status_code == 404
            assert httpx.get(f"{url}/dreams/sessions/metrics").json()["code"] == "session_not_found"
            assert stream_status(f"{url}/dreams") == 200


def stream_status(url: str, **options: Any) -> int:
    """Return the status of a request on a WebSocket."""
    with connect(f"{url.replace('http', 'ws')}/stream", **options) as stream:
        stream.send(json.dumps({"id": 1, "verb": "worlds", "body": {}}))
        status: int = json.loads(stream.recv(timeout=30))["status"]
        return status


def site(port: int) -> str:
    """Return a site with proxy.conf in front of a port."""
    inside = "include /etc/nginx/dreamserve/proxy.conf;"
    return (
        "include /etc/nginx/dreamserve/routes.conf;"
        f"server {{ listen 80; location / {{ {inside} proxy_pass http://127.0.0.1:{port}; }} }}"
    )


def test_a_body_goes_on_to_the_server_before_it_is_complete(running_nginx):
    with (
        socket.create_server(("127.0.0.1", 0)) as upstream,
        running_nginx(site(upstream.getsockname()[1])) as url,
    ):
        upstream.settimeout(30)
        address = httpx.URL(url)
        with socket.create_connection((address.host, address.port)) as client:
            head = b"POST /step HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n"
            client.sendall(head + bytes(3_000_000))
            served, _ = upstream.accept()
            with served:
                served.settimeout(30)
                assert served.recv(1 << 16).startswith(b"POST")


def test_a_body_beyond_the_server_s_limit_gets_the_server_s_own_error(running_nginx, listening):
    limit = Settings().max_body_bytes
    (own_mib,) = re.findall(r"^client_max_body_size (\d+)m;", PROXY, re.MULTILINE)
    assert limit < int(own_mib) * 2**20 <= 1.1 * limit
    with listening() as served, running_nginx(site(served.port)) as url:
        body = bytes(limit + 1000)
        for sent in (body, iter([body[: 2**20], body[2**20 :]])):
            answer = httpx.post(f"{url}/step", content=sent, timeout=60)
            assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert httpx.post(f"{url}/step", content=bytes(int(own_mib) * 2**20 + 1)).is_client_error
