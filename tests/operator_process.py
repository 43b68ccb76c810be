"""A real operator as a process of its own: `python -m maprun operator`, to be killed, stopped and started again.

Rule 1: it sees only what is given to it: neither the credentials nor the kubeconfig of whoever runs the tests.
Rule 2: an `OperatorProcess` never leaves a process behind: leaving the `with` block kills what still runs.
"""

from __future__ import annotations

import copy
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.cluster.s3 import S3Server

SOURCES: Final = Path(__file__).resolve().parent.parent / "operator"
READY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 30.0
HTTP_SECONDS: Final = 5.0
HIDDEN: Final = re.compile(r"AWS_|KUBE|MAPRUN_")
SAMPLE: Final = re.compile(r"^(?P<series>\w+(\{.*\})?) (?P<value>\S+)$", re.MULTILINE)


class OperatorProcess:
    """An operator of the cluster behind `kubeconfig`, with its state at the URL `state`.

    `options` are further options of the command line, `s3` is where its own S3 access leads. All lives write one log,
    `folder`/operator.log. `module` is what Python runs; each life gets what stands in `fault` then, as variables.
    """

    def __init__(
        self,
        folder: Path,
        kubeconfig: Path,
        state: str,
        options: Sequence[str] = (),
        s3: S3Server | None = None,
        environment: Mapping[str, str] | None = None,
        module: str = "maprun",
    ) -> None:
        self.port = free_port()
        self.fault: dict[str, str] = {}
        self._module = module
        self.log_file = folder / "operator.log"
        self._options = [f"--kubeconfig={kubeconfig}", f"--state={state}", *options]
        own = {name: value for name, value in os.environ.items() if not HIDDEN.match(name)}
        python = os.pathsep.join(filter(None, (str(SOURCES), own.get("PYTHONPATH"))))
        self._environment = own | {"PYTHONPATH": python} | (s3.environment() if s3 else {}) | dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    def twin(self, folder: Path) -> Self:
        """Another one with the same settings, a port of its own and its own log in `folder`; not started."""
        made = copy.copy(self)
        made.port, made.log_file, made._process = free_port(), folder / "operator.log", None
        return made

    def __enter__(self) -> Self:
        return self.start().await_ready()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> Self:
        """Start it, or start it again; returns at once."""
        assert not self.alive, "the operator runs already"
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module, "operator", f"--port={self.port}", *self._options],
                env=self._environment | self.fault,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    def await_ready(self, seconds: float = READY_SECONDS) -> Self:
        """Until /readyz says so. Raises with the log when it ends before."""
        eventually(lambda: not self.alive or self.get("/readyz")[0] == 200, seconds, lambda: f"not ready:\n{self.log}")
        assert self.alive, f"the operator ended with exit code {self.exit_code}:\n{self.log}"
        return self

    def kill(self) -> None:
        """SIGKILL, as a crash of its node would; fine when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def terminate(self) -> float:
        """SIGTERM, as a kubelet sends it; returns the seconds until the process was gone. Exit code: `exit_code`."""
        assert self._process is not None
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(STOP_SECONDS)
        return time.monotonic() - began

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative after a signal."""
        return None if self._process is None else self._process.poll()

    @property
    def pid(self) -> int:
        """To read its use of memory and processor from /proc."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """Everything that all of its lives wrote."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def get(self, path: str) -> tuple[int, str]:
        """Status and text that its port answers to a GET; status 0 when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=HTTP_SECONDS) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metrics(self) -> dict[str, float]:
        """Every series of /metrics, by its name with labels as they are written there: `x_total{namespace="a"}`."""
        return {found["series"]: float(found["value"]) for found in SAMPLE.finditer(self.get("/metrics")[1])}


def eventually(
    condition: Callable[[], object], seconds: float = READY_SECONDS, told: Callable[[], str] = lambda: "never came true"
) -> None:
    """Wait until the condition holds; fails with what `told` says."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, told()
        time.sleep(0.05)


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
