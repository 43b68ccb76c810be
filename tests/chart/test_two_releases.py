"""Two releases of the chart in one cluster: each guards its own namespaces, and no run is driven by both.

Rule 1: nothing stays behind in the session's cluster but the resource definition, which others use as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from tests.chart import on_server
from tests.chart.on_server import Helm
from tests.chart.rendering import Refused
from tests.cluster import Cluster
from tests.operator_process import eventually

FIRST, SECOND = "pair-one", "pair-two"  # namespaces of the releases, which are called as they are
TEAMS: Final = ("pair-a", "pair-b")  # what each drives
SPACES: Final = (FIRST, SECOND, *TEAMS, "pair-c")
NOT_AGAIN: Final = ("crds.enabled=false", "rbac.aggregate=false")
NOTHING_WIDE: Final = (*NOT_AGAIN, "admissionPolicy.enabled=false", "rbac.create=false")
WHAT_TO_DO: Final = "give each release namespaces of its own, or uninstall that one first"


@pytest.fixture(scope="module")
def helm_in(cluster_fake: Cluster, helm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Helm]:
    """helm in the second release's namespace; both releases are there, and bob, who may create runs and no Jobs."""
    one = Helm(helm, cluster_fake, tmp_path_factory.mktemp("helm"), FIRST)
    two = replace(one, namespace=SECOND)
    on_server.apply(cluster_fake, [on_server.namespace(name) for name in SPACES])
    one.put("install", FIRST, f"namespaces={{{TEAMS[0]}}}", options=["--take-ownership"])  # of the definition
    two.put("install", SECOND, f"namespaces={{{TEAMS[1]}}}", *NOT_AGAIN)
    eventually(lambda: cluster_fake.kubectl("get", "mapruns.maprun.dev", check=False).returncode == 0)
    yield two
    two.run("uninstall", SECOND)
    one.run("uninstall", FIRST)
    cluster_fake.kubectl("delete", "namespace", *SPACES, "--timeout=60s")


@pytest.mark.parametrize("team", TEAMS)
def test_each_refuses_runs_of_those_who_may_not_create_jobs(helm_in: Helm, team: str) -> None:
    """bob has nothing but the first release's role for people; the policies are in force a moment after they came."""
    cluster = helm_in.cluster
    on_server.apply(cluster, [on_server.binding("bob", f"{FIRST}-maprun-edit", team)])

    def told() -> str:
        return on_server.create(cluster, "bob", team).stderr

    eventually(lambda: f"bob may not create Jobs in the namespace {team}" in told(), 60, told)


def sharing(release: str, names: str) -> str:
    """How the refusal begins."""
    return f"- namespaces: the release {release} in the namespace {release} drives the runs of {names} already"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        pytest.param(["namespaces={pair-c,pair-a}"], [sharing(FIRST, "pair-a")], id="one namespace of another"),
        pytest.param(
            ["namespaces={pair-a,pair-b}"],
            [sharing(FIRST, "pair-a"), sharing(SECOND, "pair-b")],
            id="two of two others",
        ),
        pytest.param([], [sharing(FIRST, "pair-a"), sharing(SECOND, "pair-b")], id="all namespaces"),
    ],
)
def test_a_third_release_that_would_share_runs_is_refused(helm_in: Helm, settings: list[str], told: list[str]) -> None:
    with pytest.raises(Refused) as caught:
        helm_in.put("install", "third", *NOT_AGAIN, *settings)
    for each in told:
        assert f"{each}, and a run belongs to one release; {WHAT_TO_DO}" in str(caught.value)


def test_a_release_that_drives_all_namespaces_leaves_room_for_no_other(helm_in: Helm) -> None:
    """An operator of all namespaces names none."""
    cluster = helm_in.cluster
    cluster.kubectl("set", "env", "-n", FIRST, f"deployment/{FIRST}-maprun", "MAPRUN_NAMESPACES-")
    try:
        with pytest.raises(Refused) as caught:
            helm_in.put("install", "third", "namespaces={pair-c}", *NOT_AGAIN)
    finally:
        cluster.kubectl("set", "env", "-n", FIRST, f"deployment/{FIRST}-maprun", f"MAPRUN_NAMESPACES={TEAMS[0]}")
    assert sharing(FIRST, "pair-c") in str(caught.value)


def test_an_upgrade_does_not_grow_into_another_release(helm_in: Helm) -> None:
    """But it may grow otherwise: the release does not meet itself."""
    with pytest.raises(Refused) as caught:
        helm_in.put("upgrade", SECOND, "namespaces={pair-b,pair-a}", *NOT_AGAIN)
    assert sharing(FIRST, "pair-a") in str(caught.value)
    helm_in.put("upgrade", SECOND, "namespaces={pair-b,pair-c}", *NOT_AGAIN)
    helm_in.put("upgrade", SECOND, "namespaces={pair-b}", *NOT_AGAIN)


def test_who_has_rights_in_one_namespace_only_can_install(helm_in: Helm) -> None:
    """erin may not list the Deployments of others, so nothing looks at them; with an object of the cluster it would."""
    erin = replace(helm_in, who="erin")
    on_server.apply(erin.cluster, [on_server.binding("erin", "admin", SECOND)])
    erin.put("install", "third", "namespaces={pair-c}", *NOTHING_WIDE)
    erin.run("uninstall", "third")
    with pytest.raises(Refused, match='cannot list resource "deployments"'):
        erin.put("install", "third", "namespaces={pair-c}", *NOT_AGAIN)
