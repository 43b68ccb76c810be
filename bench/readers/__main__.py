"""Measure the planning of a run for each reader against the bare library over the same bytes, in turns.

The plan is the whole of it: read, select with two paths, put into batches of 100, write to the run's store. Each
measurement has a process of its own; the best of the rounds counts. `python -m bench.readers.lag` measures what the
operator's event loop notices of it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.readers import data, loops, once, paths
from bench.readers.once import Measured
from maprun.adapters.s3_access import S3Access
from maprun.adapters.stores import BucketsRef
from maprun.model import MapRunSpec
from maprun.planning import PlanRequest

SELECTOR: Final = {"row.$": "$$.Map.Item.Value", "index.$": "$$.Map.Item.Index"}
CONTEXT: Final[dict[str, Any]] = {"Execution": {"Name": "bench"}, "State": {"Name": "bench"}, "StateMachine": {}}
TYPES: Final = {"csv": "CSV", "quoted": "CSV", "json": "JSON", "jsonl": "JSONL", "parquet": "PARQUET"}
LISTING: Final = "listing"


def main() -> None:
    """Read the options, measure, print."""
    options = _options()
    wanted = options.format or [*TYPES, LISTING]
    with tempfile.TemporaryDirectory(prefix="maprun-bench-", dir=options.folder) as folder:
        root = Path(folder)
        for name in wanted:
            if name in TYPES:
                _file(root, name, options)
        if LISTING in wanted:
            with data.keys(options.keys) as access:
                _listing(root, access, options)
    paths.report()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.readers", description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000, help="rows of each file (default 500,000)")
    parser.add_argument("--keys", type=int, default=100_000, help="keys of the listing (default 100,000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often all is measured, in turns (default 3)")
    parser.add_argument("--format", choices=[*TYPES, LISTING], action="append", help="only this one (default all)")
    parser.add_argument("--folder", type=Path, help="where files go meanwhile (default the system's)")
    return parser.parse_args()


def _file(root: Path, name: str, options: argparse.Namespace) -> None:
    path = root / "data" / f"rows.{name}"
    path.parent.mkdir(exist_ok=True)
    data.write(path, options.rows)
    print(f"{name}: {options.rows} rows, {once.size(path):.0f} MiB", flush=True)
    config = {"inputType": TYPES[name]} | ({"csvHeaderLocation": "FIRST_ROW"} if TYPES[name] == "CSV" else {})
    call = {"resource": "s3:getObject", "parameters": {"bucket": "data", "key": path.name}, "readerConfig": config}
    buckets = BucketsRef(root=str(root))
    bare = {title: (read, path) for title, read in loops.LOOPS[name].items()}
    _compare(root, {"itemReader": call}, buckets, bare, options)
    path.unlink()


def _listing(root: Path, access: S3Access, options: argparse.Namespace) -> None:
    print(f"{LISTING}: {options.keys} keys on an S3 server", flush=True)
    call = {"resource": "s3:listObjectsV2", "parameters": {"bucket": data.BUCKET}}
    bare = {"boto3": (loops.paginator, access, data.BUCKET)}
    _compare(root, {"itemReader": call}, BucketsRef(access=access), bare, options)


def _compare(
    root: Path, spec: dict[str, Any], buckets: BucketsRef, bare: dict[str, tuple[Any, ...]], options: argparse.Namespace
) -> None:
    plans = {
        "plan, two paths, batches of 100": spec | {"itemSelector": SELECTOR, "itemBatcher": {"maxItemsPerBatch": 100}},
        "plan, batches of 100": spec | {"itemBatcher": {"maxItemsPerBatch": 100}},
        "plan, one item each": spec,
    }
    best: dict[str, Measured] = {}
    for _ in range(options.rounds):
        for title, work in bare.items():
            _keep(best, title, once.loop(*work))
        for title, fields in plans.items():
            with tempfile.TemporaryDirectory(dir=root) as store:
                _keep(best, title, once.plan(_request(f"file://{store}", fields, buckets)))
    _print(best, min((best[title] for title in bare), key=lambda each: each.seconds))


def _request(store: str, fields: dict[str, Any], buckets: BucketsRef) -> PlanRequest:
    spec = msgspec.convert({"itemProcessor": {"jobTemplate": {}}, **fields}, MapRunSpec)
    return PlanRequest(store, spec, CONTEXT, buckets=buckets)


def _keep(best: dict[str, Measured], title: str, measured: Measured) -> None:
    if title not in best or measured.seconds < best[title].seconds:
        best[title] = measured


def _print(best: dict[str, Measured], floor: Measured) -> None:
    for title, each in best.items():
        rate, ratio = each.rows / each.seconds, each.seconds / floor.seconds
        told = f"  first children after {each.first:.2f} s" if each.first else ""
        print(f"  {title:<34} {rate:10,.0f} rows/s  {ratio:5.2f} x  {each.memory / 2**20:6.0f} MiB{told}", flush=True)


if __name__ == "__main__":
    main()
