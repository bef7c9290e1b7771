"""A process forks while its client is connected: parent and child then dream their own dreams."""

import os
import ssl
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import dreamserve_client as sdk
from dreamserve.engine.fake import fake_world

CERTIFICATE = Path(__file__).parents[1] / "stream" / "dreams.test.pem"

# Two processes step their dreams at the same time, by the client that they had before the fork.
STEPS = """
import os, sys
from dreamserve_client import DreamClient

client = DreamClient(sys.argv[1], max_retries=0, timeout_s=20)
dreams = [client.dream(seed=seed) for seed in (1, 2)]
ready, go = os.pipe()
child = os.fork()
if child == 0:
    os.read(ready, 1)
    dream = dreams[1]
else:
    os.write(go, b"x")
    dream = dreams[0]
for number in range(200):
    assert dream.step(1, step=number + 1).session_id == dream.session_id
print(dream.step(1).latent.tolist(), flush=True)
if child == 0:
    client.close()
    os._exit(0)
status = os.waitpid(child, 0)[1]
dream.step(1)  # the child's end has closed no connection of the parent
client.close()
sys.exit(status)
"""
ENVIRONMENTS = """
import sys
from functools import partial
from gymnasium.vector import AsyncVectorEnv
from dreamserve_client import DreamClient
from dreamserve_client.envs import DreamEnv

client = DreamClient(sys.argv[1], timeout_s=20)
client.dream()
envs = AsyncVectorEnv([partial(DreamEnv, client=client)] * 3, context="fork")
observations, _ = envs.reset(seed=5)
for _ in range(20):
    observations, *_ = envs.step([1, 0, 2])
print(observations.tolist())
envs.close()
client.dream().step(1)
client.close()
"""
LENT = """
import os, sys, httpx
from dreamserve_client import ClosedError, DreamClient

with httpx.Client() as http:
    client = DreamClient(sys.argv[1], http_client=http)
    client.worlds()
    child = os.fork()
    if child == 0:
        try:
            client.worlds()
        except ClosedError as error:
            print(error, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    client.worlds()
"""


def run(program: str, url: str, **variables: str) -> list[str]:
    """Run a program, which must succeed, and return what it printed."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, url],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.splitlines()


def last_latent(seed: int, steps: int) -> list[float]:
    with sdk.DreamClient(transport=sdk.InProcess(fake_world())) as client:
        dream = client.dream(seed=seed)
        return [dream.step(1).latent.tolist() for _ in range(steps)][-1]


def test_parent_and_child_get_the_results_of_their_own_dreams(url):
    expected = {str(last_latent(seed, 201)) for seed in (1, 2)}
    assert set(run(STEPS, url)) == expected


def test_a_child_leaves_its_parents_tls_as_it_is(listening):
    trust, at = ssl.create_default_context(cafile=str(CERTIFICATE)), str(CERTIFICATE)
    with listening(fake_world(), tls_cert=at, tls_key=at, tls_trust=trust) as served:
        assert len(run(STEPS, served.url, SSL_CERT_FILE=at)) == 2


def test_environments_in_forked_processes_share_a_client(url):
    vector = pytest.importorskip(
        "gymnasium.vector", reason="pip install 'dreamserve-client[gymnasium]'"
    )
    from dreamserve_client.envs import DreamEnv  # needs gymnasium

    here = vector.SyncVectorEnv([partial(DreamEnv, url)] * 3)
    here.reset(seed=5)
    for _ in range(20):
        observations, *_ = here.step([1, 0, 2])
    here.close()
    assert run(ENVIRONMENTS, url) == [str(observations.tolist())]


def test_an_http_client_of_your_own_says_that_it_belongs_to_another_process(url):
    (said,) = run(LENT, url)
    assert "make one in each process" in said
