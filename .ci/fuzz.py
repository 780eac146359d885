"""
Ask the API of a control plane that runs for everything that its description allows, and for more: what schemathesis
makes of C{/openapi.json}. Fails on a 5xx, and on any answer that the description does not have.

C{tox -e fuzz} runs it; what is added to that goes to schemathesis, for example C{--max-examples 200}. C{--all-versions}
also asks by the older versions of the API, which the same operations serve.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path

HERE = Path(__file__).resolve()
SECONDS = 60.0


def ports(count: int) -> list[int]:
    """
    Ports of 127.0.0.1 that are free.
    """
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def until(port: int, process: subprocess.Popen[bytes]) -> None:
    """
    Wait until the control plane answers.
    """
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError):
            connection = HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/version")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.1)
    raise SystemExit("the control plane does not answer")


def main() -> int:
    """
    Run it.

    @return: The exit status.
    """
    options = [one for one in sys.argv[1:] if one != "--all-versions"]
    isWhole = len(options) < len(sys.argv) - 1
    program = str(Path(sys.executable).with_name("schemathesis"))
    program = os.environ.get("SCHEMATHESIS", program)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rest, plain, secure = ports(3)
        listens = {"rest": {"listen": {"port": rest}}, "xds": {"plain": {"port": plain}, "secure": {"port": secure}}}
        (folder / "control.yaml").write_text(json.dumps(listens))
        # 410 and 412 tell of the state, and come before the rest is looked at.
        codes = [400, 401, 403, 404, 405, 406, 409, 410, 412, 413, 415, 422]
        told = f"[checks.negative_data_rejection]\nexpected-statuses = {json.dumps(list(map(str, codes)))}\n"
        (folder / "schemathesis.toml").write_text(told)
        log = folder / "control.log"
        run = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"
        command = [sys.executable, "-c", run, "-n", "meshproxy", "control", "--config", str(folder / "control.yaml")]
        with log.open("wb") as stderr:
            control = subprocess.Popen([*command, "--data", str(folder / "data")], cwd=folder, stderr=stderr)
        try:
            until(rest, control)
            asked = subprocess.run(
                [
                    program,
                    "run",
                    f"http://127.0.0.1:{rest}/openapi.json",
                    # It answers for ever.
                    "--exclude-path",
                    "/v1/events",
                    *([] if isWhole else ["--exclude-path-regex", "/(v1beta1|v1alpha3)/"]),
                    # What is right as far as a schema can say may be wrong all the same: names that do not exist, two
                    # fields of which one is allowed.
                    "--exclude-checks",
                    "positive_data_acceptance",
                    # How long the schemas of gateways take to generate from says how busy this machine is.
                    "--suppress-health-check",
                    "too_slow",
                    "--request-timeout",
                    "20",
                    *(options or ["--max-examples", "20", "--continue-on-failure"]),
                ],
                cwd=folder,
                env={**os.environ, "SCHEMATHESIS_HOOKS": "fuzzhooks", "PYTHONPATH": str(HERE.parent)},
                check=False,
            )
        finally:
            control.send_signal(signal.SIGTERM)
            try:
                control.wait(20)
            except subprocess.TimeoutExpired:
                control.kill()
        text = log.read_text("utf-8", "replace")
        if "Traceback" in text:
            print(text[-20000:])
            return 1
        return asked.returncode


if __name__ == "__main__":
    sys.exit(main())
