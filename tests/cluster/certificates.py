"""A small certificate authority for one cluster, made with openssl.

Writes into `pki/` of the state directory: `ca.crt`, the API server's certificate (valid for every address that it is
dialled by: loopback, the bridge, the Service's cluster IP and its names), the certificate it shows to the kubelet,
and the key that signs service account tokens. A year is longer than any cluster of ours lives.
"""

from __future__ import annotations

from pathlib import Path

from .commands import program, run
from .state import API_SERVICE_ADDRESS, BRIDGE_ADDRESS, State

_SERVICE = "kubernetes.default.svc.cluster.local"
_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", _SERVICE)
_ADDRESSES = ("127.0.0.1", BRIDGE_ADDRESS, API_SERVICE_ADDRESS)


def make(state: State) -> None:
    """Create everything; keeps what is there."""
    folder = state.state_dir / "pki"
    if (folder / "complete").exists():
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    _authority(folder)
    names = [f"DNS:{name}" for name in _NAMES] + [f"IP:{address}" for address in _ADDRESSES]
    server = f"subjectAltName={','.join(names)}\nextendedKeyUsage=serverAuth"
    _certificate(folder, "apiserver", "/CN=kube-apiserver", server)
    _certificate(folder, "kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet", "extendedKeyUsage=clientAuth")
    _openssl("genrsa", "-out", folder / "service-account.key", "2048")
    (folder / "complete").touch()


def _authority(folder: Path) -> None:
    key, certificate = folder / "ca.key", folder / "ca.crt"
    _elliptic_key(key)
    subject = ["-subj", "/CN=maprun-test-cluster", "-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"]
    _openssl("req", "-x509", "-new", "-key", key, "-days", "365", *subject, "-out", certificate)


def _certificate(folder: Path, name: str, subject: str, extensions: str) -> None:
    key, request, settings = folder / f"{name}.key", folder / f"{name}.csr", folder / f"{name}.ext"
    _elliptic_key(key)
    settings.write_text(extensions)
    _openssl("req", "-new", "-key", key, "-subj", subject, "-out", request)
    authority: list[str | Path] = ["-CA", folder / "ca.crt", "-CAkey", folder / "ca.key", "-CAcreateserial"]
    signed = folder / f"{name}.crt"
    _openssl("x509", "-req", "-in", request, *authority, "-days", "365", "-extfile", settings, "-out", signed)


def _elliptic_key(path: Path) -> None:
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)
    path.chmod(0o600)


def _openssl(*arguments: str | Path) -> None:
    run([program("openssl"), *arguments])
