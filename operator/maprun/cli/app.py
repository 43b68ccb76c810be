"""The commands of `maprun` and their options.

Rule 1: exit code 0: the run SUCCEEDED. 1: it FAILED or was ABORTED. 2: the input is wrong, nothing ran. 130: stopped,
        it can go on.
Rule 2: only declarations. A command's work is imported when it is called, so that `--help` is quick, and a local run
        never waits for what talks to a cluster.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

DEMO: Final = Path("maprun-demo")
STATE: Final = "file:///var/lib/maprun"

app = typer.Typer(
    help="AWS Step Functions' Distributed Map on your own Kubernetes cluster, or on this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

File = Annotated[Path, typer.Argument(help="YAML file with one MapRun.", show_default=False)]
Replace = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help="Replace a field of the spec: maxConcurrency=5. May be repeated."
    ),
]
Namespaces = Annotated[
    list[str] | None,
    typer.Option(
        "--namespace", "-n", envvar="MAPRUN_NAMESPACES", help="Namespace of runs; may be repeated. Default: all."
    ),
]
Kubeconfig = Annotated[
    str | None, typer.Option(help="Path of a kubeconfig. Default: as kubectl finds it; in a pod, its ServiceAccount.")
]
Context = Annotated[str | None, typer.Option(help="Context of the kubeconfig. Default: the current one.")]
Json = Annotated[bool, typer.Option("--json", help="Print the status object, as in the cluster, and nothing else.")]


@app.command()
def run(
    file: File,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Directory of the run's state; that of an earlier run goes on with it, and with --set redrives=1 runs "
            "again what did not succeed. Default: a new one.",
        ),
    ] = None,
    bucket_dir: Annotated[
        Path, typer.Option(metavar="DIR", help="The bucket NAME is the directory DIR/NAME.")
    ] = Path(),
    s3_endpoint: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="Use the buckets of this S3 server, with the keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
        ),
    ] = "",
    replace: Replace = None,
    json: Json = False,
) -> None:
    """Run a MapRun on this machine: the engine of the cluster, with processes in place of Jobs."""
    from maprun.cli import commands

    raise typer.Exit(commands.run(file, replace or [], state, bucket_dir, s3_endpoint, json=json))


@app.command()
def demo(
    directory: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Where to work. An earlier demo there is replaced.")
    ] = DEMO,
    json: Json = False,
) -> None:
    """Run the airports example here: 130 real airports, 20 at once, some of which fail on purpose."""
    from maprun.cli import commands

    raise typer.Exit(commands.demo(directory, json=json))


@app.command()
def validate(file: File, replace: Replace = None) -> None:
    """Check a MapRun, and list everything that is wrong with it."""
    from maprun.cli import commands

    raise typer.Exit(commands.validate(file, replace or []))


@app.command()
def operator(
    namespace: Namespaces = None,
    state: Annotated[
        str,
        typer.Option(
            envvar="MAPRUN_STATE", help="Where plans and journals lie: file:///directory or s3://bucket/prefix."
        ),
    ] = STATE,
    ceiling: Annotated[
        int, typer.Option(envvar="MAPRUN_CEILING", min=1, max=10_000, help="Most live children of a run.")
    ] = 1_000,
    namespace_ceiling: Annotated[
        int,
        typer.Option(
            envvar="MAPRUN_NAMESPACE_CEILING", min=0, help="Most live children of all runs of a namespace; 0: no bound."
        ),
    ] = 0,
    cluster_ceiling: Annotated[
        int,
        typer.Option(envvar="MAPRUN_CLUSTER_CEILING", min=0, help="Most live children of all runs; 0: no bound."),
    ] = 0,
    lease: Annotated[
        str,
        typer.Option(
            envvar="MAPRUN_LEASE",
            metavar="NAMESPACE/NAME",
            help="Lease by which one of several operators leads. Default: none, this operator is alone.",
        ),
    ] = "",
    keep_state: Annotated[
        bool,
        typer.Option(
            "--keep-state", envvar="MAPRUN_KEEP_STATE", help="Leave a run's plan and journal when it is deleted."
        ),
    ] = False,
    share_s3_credentials: Annotated[
        bool,
        typer.Option(
            "--share-s3-credentials",
            envvar="MAPRUN_SHARE_S3_CREDENTIALS",
            help="Runs without a Secret of their own use the operator's S3 credentials.",
        ),
    ] = False,
    s3_endpoint: Annotated[
        list[str] | None,
        typer.Option(
            "--s3-endpoint",
            envvar="MAPRUN_S3_ENDPOINTS",
            metavar="URL",
            help="S3 server that runs may name in spec.s3.endpoint; may be repeated. Default: any but local ones.",
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(envvar="MAPRUN_PORT", min=1, max=65_535, help="Port of /metrics, /healthz, /readyz.")
    ] = 8080,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Run the operator: watch MapRuns on a cluster and drive them."""
    from maprun.cli import operate
    from maprun.settings import OperatorSettings, s3_from

    settings = OperatorSettings(
        namespaces=tuple(namespace or ()),
        state=state,
        ceiling=ceiling,
        namespace_ceiling=namespace_ceiling,
        cluster_ceiling=cluster_ceiling,
        lease=lease,
        keep_state=keep_state,
        share_s3_credentials=share_s3_credentials,
        port=port,
        kubeconfig=kubeconfig,
        context=context,
        s3=s3_from(),
        s3_endpoints=tuple(s3_endpoint or ()),
    )
    raise typer.Exit(operate.operator(settings))


@app.command()
def leave(
    namespace: Namespaces = None,
    lease: Annotated[
        str,
        typer.Option(
            envvar="MAPRUN_LEASE",
            metavar="NAMESPACE/NAME",
            help="Lease of the operators; it is taken for a minute, so that they stop. Default: none is taken.",
        ),
    ] = "",
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Before an uninstallation: stop the operator and let go of its runs, so that they can be deleted without it."""
    from maprun.cli import operate
    from maprun.settings import OperatorSettings

    settings = OperatorSettings(namespaces=tuple(namespace or ()), lease=lease, kubeconfig=kubeconfig, context=context)
    raise typer.Exit(operate.leave(settings))
