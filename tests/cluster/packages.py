"""Debian packages that the real node, the images and the monitoring tests need: installed when we may, else named."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from .commands import find, run, search_path
from .paths import Unavailable, say

# program (or file) that proves it is there -> the package that has it
CONTROL_PLANE = {"openssl": "openssl"}
IMAGES = {"buildah": "buildah", "mmdebstrap": "mmdebstrap", "/bin/busybox": "busybox-static"}
PROMETHEUS = {"prometheus": "prometheus", "promtool": "prometheus"}
REAL_NODE = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "iptables": "iptables",
    "ip": "iproute2",
    "conntrack": "conntrack",
    "mount": "mount",
    "nsenter": "util-linux",
    **IMAGES,
}


def require(wanted: dict[str, str]) -> None:
    """Make sure that every package is there; raises with the command to run where it may not install them."""
    missing = sorted({package for proof, package in wanted.items() if not _there(proof)})
    if not missing:
        return
    if os.geteuid() != 0 or find("apt-get") is None:
        raise Unavailable(f"missing packages; on Debian or Ubuntu: sudo apt-get install {' '.join(missing)}")
    say(f"Installing Debian packages: {' '.join(missing)} (about 30 s)")
    environment = {"DEBIAN_FRONTEND": "noninteractive", "PATH": search_path()}
    with _services_left_alone():
        run(["apt-get", "update", "-qq"], environment=environment)
        run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], environment=environment)


@contextlib.contextmanager
def _services_left_alone() -> Iterator[None]:
    """Debian starts the service of a package it installs (containerd's, for one): not for us, we start our own."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


def _there(proof: str) -> bool:
    if proof.startswith("/"):
        return Path(proof).exists()
    return find(proof) is not None
