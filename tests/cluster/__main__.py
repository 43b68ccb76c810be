"""python -m tests.cluster up | down | status | env | build: a cluster that stays until it is told to go."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

from . import binaries, images, packages
from . import state as states
from .fake_nodes import OUTCOMES
from .lifecycle import FAKE_NODES, down, open_state, up
from .paths import ClusterError, say
from .processes import Supervisor


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return int(options.action(options) or 0)
    except ClusterError as error:
        say(f"error: {error}")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--name", default="default", help="several may run side by side")
    kinds = argparse.ArgumentParser(add_help=False)
    kinds.add_argument("--nodes", choices=["none", "fake", "real", "both"], default="fake")

    starting = commands.add_parser("up", parents=[named, kinds], help="start a cluster, or what is missing of it")
    starting.add_argument("--controller-manager", choices=["stock", "tuned"], default="tuned")
    starting.add_argument("--no-s3", action="store_true")
    starting.add_argument("--fake-nodes", type=int, default=FAKE_NODES, metavar="N")
    starting.add_argument("--stages", type=Path, default=OUTCOMES, help="kwok stages: what pods on fake nodes do")
    starting.set_defaults(action=_up)
    commands.add_parser("down", parents=[named], help="end it; nothing is left").set_defaults(action=_down)
    commands.add_parser("status", help="a table of what runs").set_defaults(action=_status)
    commands.add_parser("env", parents=[named], help="shell exports, for eval").set_defaults(action=_env)
    building = commands.add_parser("build", parents=[kinds], help="build programs and images now, start nothing")
    building.add_argument("--s3-only", action="store_true", help="the S3 server and nothing else")
    building.set_defaults(action=_build)
    return parser


def _up(options: argparse.Namespace) -> None:
    started = time.monotonic()
    say(f"Cluster {options.name}: nodes {options.nodes}")
    cluster = up(
        options.name,
        options.nodes,
        options.controller_manager,
        not options.no_s3,
        options.fake_nodes,
        options.stages,
    )
    say(f"Ready after {time.monotonic() - started:.1f} s. State and logs: {cluster.state_dir}\n")
    _env(options)
    if cluster.s3 is not None and cluster.s3.endpoint_from_pods is not None:
        say(f"# from pods, S3 is at {cluster.s3.endpoint_from_pods}")
    name = "" if options.name == "default" else f" --name {options.name}"
    say(f'\nTry:  eval "$(python -m tests.cluster env{name})" && kubectl get nodes')
    say(f"End:  python -m tests.cluster down{name}")


def _down(options: argparse.Namespace) -> None:
    started = time.monotonic()
    if down(options.name):
        say(f"Cluster {options.name} is gone ({time.monotonic() - started:.1f} s).")
    else:
        say(f"There is no cluster {options.name}.")


def _env(options: argparse.Namespace) -> None:
    state = states.load(states.directory(options.name))
    if state is None:
        raise ClusterError(f"there is no cluster {options.name}; python -m tests.cluster up starts one")
    cluster = open_state(state)
    values = {"KUBECONFIG": str(cluster.kubeconfig), **(cluster.s3.environment() if cluster.s3 else {})}
    for key, value in values.items():
        print(f"export {key}={shlex.quote(value)}")
    programs = [binaries.kubernetes(binaries.CONTROL_PLANE)["kubectl"]]
    if not binaries.missing_tools([binaries.HELM]):
        programs.append(binaries.tool(binaries.HELM))
    print(f"export PATH={shlex.quote(':'.join(str(program.parent) for program in programs))}:$PATH")


def _status(options: argparse.Namespace) -> int:
    found = states.saved()
    if not found:
        say("No cluster.")
    for state in found:
        supervisor = Supervisor(state.state_dir)
        say(f"{state.name}: nodes {state.nodes}, controller manager {state.controller_manager}, {state.server}")
        for component in supervisor.names():
            process = supervisor.process(component)
            alive = process is not None and process.alive()
            memory = _megabytes(process.pid) if process is not None and alive else ""
            pid = process.pid if process is not None else ""
            shown = "running" if alive else "ended"
            say(f"  {component:<26} {shown:<8} {pid:>8} {memory:>8}  {supervisor.log(component)}")
    return 0


def _megabytes(pid: int) -> str:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return f"{pages * 4096 // 2**20} MB"


def _build(options: argparse.Namespace) -> None:
    if options.s3_only:
        say(str(binaries.tool(binaries.VERSITYGW)))
        return
    real = options.nodes in ("real", "both")
    packages.require({**packages.CONTROL_PLANE, **(packages.REAL_NODE if real else {})})
    for path in binaries.kubernetes(binaries.needed(options.nodes)).values():
        say(str(path))
    for tool in binaries.tools(options.nodes):
        say(str(binaries.tool(tool)))
    if options.nodes in ("fake", "both"):
        say(str(binaries.kueue()))
    if real:
        for archive in images.standard():
            say(str(archive.path))


sys.exit(main())
