"""Which endpoints a run may name, and what no run reaches, whatever its name resolves to."""

from __future__ import annotations

import os
from typing import Any

import msgspec
import pytest

from maprun.adapters.s3_access import S3Access
from maprun.adapters.s3_policy import NotAllowed, Origin, S3Policy, forbidden, origin
from maprun.core.places import Place
from maprun.errors import MapRunError, Reason
from maprun.model import MapRunSpec
from maprun.settings import OperatorSettings, check

LISTED = ("https://s3.example.com", "http://minio.example.com:9000/", "http://127.0.0.1:9000")


def spec(endpoint: str | None = None, **fields: Any) -> MapRunSpec:
    s3 = {} if endpoint is None else {"s3": {"endpoint": endpoint, "credentialsSecretRef": {"name": "s3"}}}
    return msgspec.convert({**s3, **fields, "itemProcessor": {"jobTemplate": {}}}, MapRunSpec)


def unchecked(endpoint: str) -> MapRunSpec:
    """As if the CRD's pattern had let it through."""
    made = spec()
    return msgspec.structs.replace(made, s3=msgspec.structs.replace(made.s3, endpoint=endpoint))


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        pytest.param("http://s3.example.com", Origin("http", "s3.example.com", 80), id="the usual port of http"),
        pytest.param("https://s3.example.com:443/", Origin("https", "s3.example.com", 443), id="the port said"),
        pytest.param("HTTPS://S3.Example.COM.:9000", Origin("https", "s3.example.com", 9000), id="capitals and a dot"),
        pytest.param("http://[::1]:9000", Origin("http", "::1", 9000), id="IPv6"),
        pytest.param("http://[0:0:0::0001]", Origin("http", "::1", 80), id="IPv6 written longer"),
    ],
)
def test_an_endpoint_has_one_normal_form(url: str, normal: Origin) -> None:
    assert origin(url) == normal == origin(str(normal))


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://user:password-x@s3.example.com", id="a user and a password"),
        pytest.param("http://user@s3.example.com", id="a user"),
        pytest.param("http://s3.example.com/path", id="a path"),
        pytest.param("http://s3.example.com//", id="two slashes"),
        pytest.param("http://s3.example.com?list", id="a query"),
        pytest.param("http://s3.example.com/?", id="an empty query"),
        pytest.param("http://s3.example.com#a", id="a fragment"),
        pytest.param("http://allowed.example.com\\@s3.example.com", id="a backslash"),
        pytest.param("http://s3.example.com\n", id="a line's end"),
        pytest.param("http://s3.exa\tmple.com", id="a tab"),
        pytest.param("http://s3 .example.com", id="a blank"),
        pytest.param("ftp://s3.example.com", id="another scheme"),
        pytest.param("file:///etc/passwd", id="a file"),
        pytest.param("http://", id="no host"),
        pytest.param("http://:80", id="only a port"),
        pytest.param("http://s3.example.com:0", id="port 0"),
        pytest.param("http://s3.example.com:99999", id="a port that does not exist"),
        pytest.param("http://s3.example.com:http", id="a port that is no number"),
        pytest.param("http://[::1", id="half a bracket"),
        pytest.param("http://[zz::1]", id="an address that is none"),
        pytest.param("http://ex%61mple.com", id="a percent sign"),
        pytest.param("http://exämple.com", id="letters beyond ASCII"),
    ],
)
def test_what_is_no_endpoint_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(NotAllowed, match=r"^spec\.s3\.endpoint: must be http://host or https://host") as refused:
        S3Policy(loopback=True).endpoint(unchecked(url))
    assert refused.value.reason is Reason.ENDPOINT_NOT_ALLOWED
    assert "password-x" not in str(refused.value)
    with pytest.raises(MapRunError, match="MAPRUN_S3_ENDPOINTS") as told:
        check(OperatorSettings(s3_endpoints=(url,)))
    assert "password-x" not in str(told.value)


@pytest.mark.parametrize(
    ("endpoint", "allowed"),
    [
        pytest.param("https://s3.example.com:443", True, id="one of the list"),
        pytest.param("https://S3.EXAMPLE.COM./", True, id="one of the list in another form"),
        pytest.param("http://minio.example.com:9000", True, id="another one of the list"),
        pytest.param("http://127.0.0.1:9000", True, id="this machine, when it is in the list"),
        pytest.param("http://own.example.com:9000", True, id="the operator's own, which runs can use anyway"),
        pytest.param("http://s3.example.com", False, id="another scheme"),
        pytest.param("https://s3.example.com:9000", False, id="another port"),
        pytest.param("https://s3.example.com.evil.example.com", False, id="a longer name"),
        pytest.param("https://eu.s3.example.com", False, id="a name below a listed one"),
        pytest.param("http://127.0.0.1:9001", False, id="another port of this machine"),
    ],
)
def test_an_allow_list(endpoint: str, allowed: bool) -> None:
    policy = S3Policy(own=S3Access("http://own.example.com:9000"), endpoints=LISTED)
    if allowed:
        policy.endpoint(spec(endpoint))
        return
    with pytest.raises(NotAllowed) as refused:
        policy.endpoint(spec(endpoint))
    assert str(refused.value) == (
        f"spec.s3.endpoint: {origin(endpoint)} is not allowed on this operator; it must be one of "
        "http://127.0.0.1:9000, http://minio.example.com:9000, https://s3.example.com"
    )


def test_the_operators_own_endpoint_is_trusted_by_any_way() -> None:
    policy = S3Policy(own=S3Access("http://own.example.com:9000"))
    assert policy.endpoint(spec("http://OWN.example.com:9000/")) == policy.endpoint(spec()) == ""
    assert policy.endpoint(spec("http://other.example.com")) == "http://other.example.com"


ADDRESSES = [
    pytest.param("169.254.169.254", "a link-local address", id="the metadata service of most clouds"),
    pytest.param("169.254.170.2", "a link-local address", id="the credentials of ECS tasks"),
    pytest.param("fe80::1", "a link-local address", id="link-local in IPv6"),
    pytest.param("fe80::1%eth0", "a link-local address", id="link-local in IPv6 with a zone"),
    pytest.param("::ffff:169.254.169.254", "a link-local address", id="mapped into IPv6"),
    pytest.param("::ffff:a9fe:a9fe", "a link-local address", id="mapped into IPv6, in hexadecimal"),
    pytest.param("::169.254.169.254", "a link-local address", id="compatible with IPv6"),
    pytest.param("64:ff9b::a9fe:a9fe", "a link-local address", id="through NAT64"),
    pytest.param("2002:a9fe:a9fe::1", "a link-local address", id="through 6to4"),
    pytest.param("fd00:ec2::254", "a metadata service", id="AWS in IPv6"),
    pytest.param("fd00:ec2::23", "a metadata service", id="EKS pod identity in IPv6"),
    pytest.param("fd20:ce::254", "a metadata service", id="Google in IPv6"),
    pytest.param("168.63.129.16", "a metadata service", id="Azure"),
    pytest.param("100.100.100.200", "a metadata service", id="Alibaba"),
    pytest.param("0.0.0.0", "an unspecified or multicast address", id="unspecified"),  # noqa: S104 - not bound to
    pytest.param("::", "an unspecified or multicast address", id="unspecified in IPv6"),
    pytest.param("::ffff:0.0.0.0", "an unspecified or multicast address", id="unspecified, mapped"),
    pytest.param("224.0.0.1", "an unspecified or multicast address", id="multicast"),
    pytest.param("ff02::1", "an unspecified or multicast address", id="multicast in IPv6"),
]


@pytest.mark.parametrize(("address", "what"), ADDRESSES)
def test_what_no_run_reaches(address: str, what: str) -> None:
    assert forbidden(address, loopback=True) == forbidden(address, loopback=False) == what
    if "%" not in address:
        host = f"[{address}]" if ":" in address else address
        policy = S3Policy(loopback=True, endpoints=(f"http://{host}:80",))  # not even an allow list helps
        with pytest.raises(NotAllowed, match=f"leads to {what}, which no run may reach; it must be an S3 server$"):
            policy.endpoint(spec(f"http://{host}"))


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
def test_this_machine_is_reached_only_outside_of_a_pod(address: str) -> None:
    assert forbidden(address, loopback=True) == ""
    assert forbidden(address, loopback=False) == "the operator's own pod"


@pytest.mark.parametrize("address", ["10.96.0.1", "192.168.1.1", "172.16.0.1", "8.8.8.8", "2001:db8::1", "fd12::1"])
def test_what_a_run_may_reach(address: str) -> None:
    assert forbidden(address, loopback=False) == ""


POD = {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}


@pytest.mark.parametrize(
    ("settings", "environment", "loopback"),
    [
        pytest.param(OperatorSettings(), POD, False, id="in a pod"),
        pytest.param(OperatorSettings(), {}, True, id="on somebody's machine"),
        pytest.param(OperatorSettings(kubeconfig="config"), POD, True, id="with a kubeconfig"),
    ],
)
def test_where_the_operator_runs(
    settings: OperatorSettings, environment: dict[str, str], loopback: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", environment)
    assert settings.s3_policy.loopback is loopback


def test_the_state_is_guarded_behind_the_operators_own_endpoint_only() -> None:
    settings = OperatorSettings(state="s3://state/runs", s3=S3Access("http://own.example.com"))
    assert settings.s3_policy.state == Place("state", "runs/")
    writer = {"resource": "s3:putObject", "parameters": {"bucket": "state", "prefix": "runs"}}
    for endpoint in (None, "http://own.example.com:80/"):
        with pytest.raises(NotAllowed, match=r"^spec\.resultWriter\.parameters\.prefix: ") as refused:
            settings.s3_policy.endpoint(spec(endpoint, resultWriter=writer))
        assert refused.value.reason is Reason.STATE_NOT_ALLOWED
    assert settings.s3_policy.endpoint(spec("http://other.example.com", resultWriter=writer))


@pytest.mark.parametrize("name", ["", "Team", "a/b", "..", "a*", "a,b", "a b", "a.b", "a" * 64])
def test_what_is_no_namespace_is_told_at_the_start(name: str) -> None:
    with pytest.raises(MapRunError, match="--namespace"):
        check(OperatorSettings(namespaces=("team-a", name)))
