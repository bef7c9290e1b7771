"""Runs the tritonserver of nvidia-pytriton's wheel, serving triton_step/ over HTTP.

    benchmarks/.peers/bin/python benchmarks/peers/triton_serve.py BUNDLE --port 9004

The script must not be named triton: its folder comes first on the path, and torch imports `triton`.
"""

import argparse
import os
import sys
import sysconfig
from pathlib import Path


def main() -> None:
    """Replace this process by tritonserver."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--http-threads", type=int, default=1)
    arguments = parser.parse_args()
    packages = Path(sysconfig.get_path("purelib"))
    triton = packages / "pytriton" / "tritonserver"
    # The worker embeds Python: it needs libpython, and this environment's packages.
    libraries = [packages / "nvidia_pytriton.libs", Path(sysconfig.get_config_var("LIBDIR"))]
    environment = os.environ | {
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
        "PYTHONPATH": str(packages),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "STEP_BUNDLE": str(arguments.bundle.resolve()),
    }
    command = [
        str(triton / "bin" / "tritonserver"),
        f"--model-repository={Path(__file__).parent / 'triton_step'}",
        f"--backend-directory={triton / 'backends'}",
        "--http-address=127.0.0.1",
        f"--http-port={arguments.port}",
        f"--http-thread-count={arguments.http_threads}",
        "--allow-grpc=false",
        "--allow-metrics=false",
        "--log-info=false",
        "--exit-timeout-secs=1",
    ]
    os.execve(command[0], command, environment)


if __name__ == "__main__":
    main()
