"""compose.yaml is valid, and what it names exists."""

import re
from ipaddress import ip_address, ip_network
from pathlib import Path

import httpx
import pytest
import yaml
from redis import Redis

from dreamserve.settings import PREFIX, Settings
from dreamserve_client import DreamClient

from .memory import most_bytes, size

compose_spec = pytest.importorskip("compose_spec", reason="needs requirements-dev.txt on Linux")
ROOT = Path(__file__).parents[2]
LATER = {"STORE"}  # settings that a server may not have yet


def test_it_follows_the_specification(compose):
    plain = yaml.safe_dump({key: value for key, value in compose.items() if key[:2] != "x-"})
    compose_spec.PyCompose.from_yaml(plain).validate()


def test_every_service_is_limited_and_may_write_only_where_it_says(compose):
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {"cpus", "memory", "pids"} == service["deploy"]["resources"]["limits"].keys(), name
        assert service["restart"] == "unless-stopped", name


def test_what_a_service_waits_for_has_a_health_check(compose):
    for service in compose["services"].values():
        for name, wanted in service.get("depends_on", {}).items():
            other = compose["services"][name]
            assert wanted == {"condition": "service_healthy"}
            assert "healthcheck" in other or other["image"] == "dreamserve"  # the image has one


def test_its_variables_are_settings_and_its_grace_period_is_longer_than_the_drain(compose):
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | {
        f"{PREFIX}{name}" for name in LATER
    }
    for name in ("dreamserve-1", "dreamserve-2"):
        service = compose["services"][name]
        assert service["environment"].keys() <= known
        assert int(service["stop_grace_period"].removesuffix("s")) > Settings().drain_s + 5


def test_nginx_accepts_its_file(nginx_faults):
    text = (ROOT / "deploy/nginx/compose.conf").read_text()
    # Debian's nginx resolves names only at its start, and a new one needs Docker's name server
    assert nginx_faults(re.sub(r"server [\w-]+:(\d+) resolve", r"server 127.0.0.1:\1", text)) == ""


def test_nginx_does_not_publish_metrics(running_nginx, listening):
    text = (ROOT / "deploy/nginx/compose.conf").read_text().replace("listen 8080", "listen 80")
    with listening() as served:
        server = rf"server 127.0.0.1:{served.port}"
        text = re.sub(r"server [\w-]+:\d+ resolve", server, text)
        with running_nginx(text) as url:
            assert httpx.get(f"{url}/readyz").status_code == 200
            assert httpx.get(f"{url}/metrics").status_code == 404


def test_the_servers_believe_nginx_and_nobody_else_about_addresses(compose, compose_settings):
    address = compose_settings[f"{PREFIX}TRUSTED_PROXIES"]
    assert compose["services"]["nginx"]["networks"] == {"default": {"ipv4_address": address}}
    (network,) = compose["networks"]["default"]["ipam"]["config"]
    of_others = ip_network(network["ip_range"])
    assert ip_address(address) in ip_network(network["subnet"])
    assert of_others.subnet_of(ip_network(network["subnet"]))
    assert not {ip_address(address), ip_address(network["gateway"])} & {*of_others}
    assert address != network["gateway"]


def test_all_that_a_server_admits_fits_its_memory(compose, compose_settings):
    server = compose["services"]["dreamserve-1"]
    (files,) = server["tmpfs"]  # in memory, too
    files_bytes = size(files.rpartition("size=")[2])
    limit_bytes = size(server["deploy"]["resources"]["limits"]["memory"])
    assert most_bytes(compose_settings) + files_bytes < limit_bytes


def test_redis_has_room_for_the_sessions_of_full_servers(
    compose, compose_settings, listening, running_redis, takecover_world, tmp_path
):
    servers = [name for name in compose["services"] if name.startswith("dreamserve-")]
    sessions = len(servers) * int(compose_settings[f"{PREFIX}CAPACITY"])
    redis = compose["services"]["redis"]
    room_bytes = size(redis["command"][redis["command"].index("--maxmemory") + 1])
    assert room_bytes <= size(redis["deploy"]["resources"]["limits"]["memory"]) / 2  # as it forks
    with (
        running_redis(tmp_path) as server,
        Redis(port=server.port) as client,
        listening(takecover_world, store=server.url) as served,
    ):
        used_bytes = one_session_bytes(served.url, client)
    assert 20_000 < used_bytes < 26_000  # docs/deploy.md says 25 kB
    assert sessions * used_bytes < room_bytes / 5  # compose.yaml says so


def one_session_bytes(url: str, redis: Redis) -> float:
    """Return the memory of a session with an id of any length, whose last step has everything."""
    count, used_bytes = 50, []
    with DreamClient(url) as http:
        for number in range(count + 1):
            dream = http.dream(session_id=f"{number}".rjust(128, "x"), seed=number)
            dream.step(1, include=["frame", "mixture", "state"])
            used_bytes.append(redis.info("memory")["used_memory"])
    return (used_bytes[-1] - used_bytes[0]) / count  # not the scripts, and the connection


def test_nginx_gets_files_that_exist_and_balances_the_servers_that_run(compose):
    nginx = compose["services"]["nginx"]
    sources = [volume.split(":")[0] for volume in nginx["volumes"]]
    assert all((ROOT / source).exists() for source in sources)
    text = (ROOT / "deploy/nginx/compose.conf").read_text()
    servers = re.findall(r"^\s*server ([\w-]+):8000 resolve\b", text, re.MULTILINE)
    assert servers == [name for name in compose["services"] if name.startswith("dreamserve")]
    inside = "/etc/nginx/dreamserve"
    assert nginx["volumes"][0].split(":")[1] == inside
    for included in re.findall(rf"include {inside}/(\S+);", text):
        assert (ROOT / "deploy/nginx" / included).exists()
    (port,) = re.findall(r"listen (\d+);", text)
    assert nginx["ports"] == [f"8000:{port}"]
