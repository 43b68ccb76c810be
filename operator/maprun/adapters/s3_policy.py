"""What an administrator lets runs do with S3: which endpoints they may name, and where these may lead.

Rule 1: endpoints are compared by scheme, host and port, each in its normal form.
Rule 2: what hands out credentials of the machine or the pod is never reached for a run, whatever allows it: link-local
        addresses and the metadata services elsewhere. The operator's own pod is reached only where the administrator's
        list names it, or where the operator runs on somebody's own machine.
Rule 3: what a run asks for and can never have is told with the field, what was found, and what must be there; never
        with a password that a URL may hold.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from maprun.adapters.s3_access import S3Access
from maprun.core.places import Place, state_problem
from maprun.errors import Held, Problem, Reason
from maprun.model import MapRunSpec

ENDPOINT: Final = "spec.s3.endpoint"
FORM: Final = "http://host or https://host, either with :port behind it, and nothing else"
OWN_POD: Final = "the operator's own pod"
PORTS: Final = {"http": 80, "https": 443}

# Services that hand out credentials, at addresses that are not link-local.
METADATA: Final = tuple(
    ipaddress.ip_network(each)
    for each in (
        "fd00:ec2::/32",  # AWS: instance metadata, and the agent of EKS pod identities
        "fd20:ce::254/128",  # Google
        "168.63.129.16/32",  # Azure
        "100.100.100.200/32",  # Alibaba
    )
)
NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
COMPATIBLE: Final = ipaddress.IPv6Network("::/96")
FIRST_COMPATIBLE: Final = 1 << 16  # below lie :: and ::1, which mean themselves

_host: Final = re.compile(r"[a-z0-9.-]{1,255}")


class Origin(NamedTuple):
    """What an endpoint is, in the normal form that is compared."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + (f":{self.port}" if self.port != PORTS[self.scheme] else "")


class NotAllowed(Held):
    """The run asks for what this operator does not allow; as its spec stands it never will."""


class S3Policy(msgspec.Struct, frozen=True):
    """What runs may do with S3.

    `own` is the operator's access, `shared` whether runs may use it. `endpoints`: those that runs may name; all when
    empty. `state`: where the operator keeps its state, when that is in S3. `loopback`: runs may reach this machine.
    """

    own: S3Access = S3Access()
    shared: bool = False
    endpoints: tuple[str, ...] = ()
    state: Place | None = None
    loopback: bool = False

    def endpoint(self, spec: MapRunSpec) -> str:
        """The endpoint that is the run's own; "" when it uses the operator's, by whichever way. Errors: `NotAllowed`,
        also when the run would then use the operator's state. The spec is resolved.
        """
        named = self._named(spec.s3.endpoint) if spec.s3.endpoint is not None else ""
        if not named and self.state and (problem := state_problem(spec, self.state)):
            raise NotAllowed(Reason.STATE_NOT_ALLOWED, problem)
        return named

    def state_for(self, spec: MapRunSpec) -> Place | None:
        """What of the run's buckets is kept from it, whatever names it: a manifest may name any key."""
        return None if self.endpoint(spec) else self.state

    def reaches_this_machine(self, url: str) -> bool:
        """True when an endpoint that `endpoint` gave may lead to loopback addresses."""
        return self.loopback or origin(url) in map(origin, self.endpoints)

    def _named(self, url: str) -> str:
        try:
            found = origin(url)
        except ValueError:
            raise _refused(f"must be {FORM}") from None
        if _same(found, self.own.endpoint):
            return ""
        allowed = sorted(str(origin(each)) for each in self.endpoints)
        if allowed and str(found) not in allowed:
            raise _refused(f"{found} is not allowed on this operator; it must be one of {', '.join(allowed)}")
        if what := forbidden_host(found.host, loopback=self.reaches_this_machine(url)):
            raise _refused(f"{found} leads to {what}, which no run may reach; it must be an S3 server")
        return url


def origin(url: str) -> Origin:
    """The origin of an endpoint. `ValueError` when it is anything but scheme, host and port: a user, a path, a query,
    a fragment, white space.
    """
    parts = urlsplit(url)
    scheme, host, port = parts.scheme, (parts.hostname or "").rstrip("."), parts.port
    rest = parts.path.removeprefix("/") or parts.query or parts.fragment or "@" in parts.netloc
    if rest or scheme not in PORTS or not url.isprintable() or set(" ?#\\") & set(url) or port == 0:
        raise ValueError("not an endpoint")
    return Origin(scheme, _normal_host(host), PORTS[scheme] if port is None else port)


def _normal_host(host: str) -> str:
    if ":" in host:
        return str(IPv6Address(host))
    if not _host.fullmatch(host):
        raise ValueError("not a host")
    return host


def forbidden(address: str, *, loopback: bool) -> str:
    """What an IP address is that no run may reach, in words; "" when it may. `loopback`: this machine is allowed."""
    for ip in _meanings(ipaddress.ip_address(address.partition("%")[0])):
        if ip.is_link_local:
            return "a link-local address"
        if any(ip in network for network in METADATA):
            return "a metadata service"
        if ip.is_unspecified or ip.is_multicast:
            return "an unspecified or multicast address"
        if ip.is_loopback and not loopback:
            return OWN_POD
    return ""


def forbidden_host(host: str, *, loopback: bool) -> str:
    """As `forbidden`, for a host that is an address already; "" for a name, which is judged when it is connected to."""
    with suppress(ValueError):
        return forbidden(host, loopback=loopback)
    return ""


def _meanings(ip: IPv4Address | IPv6Address) -> Iterator[IPv4Address | IPv6Address]:
    """The address, and the IPv4 address that it carries inside."""
    yield ip
    if isinstance(ip, IPv6Address):
        low = int(ip) & 0xFFFFFFFF
        if ip in NAT64 or (ip in COMPATIBLE and low >= FIRST_COMPATIBLE):
            yield IPv4Address(low)
        if carried := ip.ipv4_mapped or ip.sixtofour:
            yield carried


def _same(found: Origin, own: str) -> bool:
    try:
        return bool(own) and found == origin(own)
    except ValueError:  # the administrator's may have a path
        return False


def _refused(told: str) -> NotAllowed:
    return NotAllowed(Reason.ENDPOINT_NOT_ALLOWED, Problem(ENDPOINT, told))
