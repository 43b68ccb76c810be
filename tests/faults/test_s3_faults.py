"""Faults of S3, of the way to it, of its credentials and buckets; and a disk that is full."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.adapters.operator_runs import condition, secret_of
from tests.cluster import machine
from tests.cluster.paths import Unavailable
from tests.faults.parts import ENDS_SECONDS, Parts, redriven
from tests.faults.proxy import CutBody, LostAnswer, Rule, s3_error
from tests.faults.scenarios import row, scenario

Rules = Callable[[], list[Rule]]

AWAY_SECONDS: Final = 5.0
DISK: Final = "2m"


@pytest.mark.parametrize(
    "rules",
    [
        row("S3 answers 503 SlowDown", lambda: [Rule(s3_error(503, "SlowDown"), ratio=0.3, times=25)]),
        row("S3 answers 500", lambda: [Rule(s3_error(500, "InternalError"), ratio=0.3, times=25)]),
        row(
            "a conditional write takes effect, and its answer is lost",
            lambda: [Rule(LostAnswer(), "PUT", "/journal/", ratio=0.5, times=20), Rule(LostAnswer(), "PUT", "/plan/")],
        ),
        row(
            "answers of S3 are cut in mid-body",
            lambda: [
                Rule(CutBody(100), "GET", r"data\.json", times=3),
                Rule(CutBody(60), "GET", "/(journal|plan)/", ratio=0.5, times=20),
            ],
        ),
    ],
)
async def test_answers(parts: Parts, tmp_path: Path, request: pytest.FixtureRequest, rules: Rules) -> None:
    """With a crash in the middle, so that everything is read again, too."""
    like = await parts.undisturbed(tmp_path)
    faults = rules()
    async with parts.stage(tmp_path, f"s3-{request.node.callspec.indices['rules']}", state="S3", s3=parts.bucket) as at:
        await at.ready()
        parts.bucket.add(*faults)
        run = await at.create(maxConcurrency=15)
        await at.some(run)
        at.operator.kill()
        at.operator.start()
        await at.proved(run, like)
        assert all(rule.met for rule in faults), faults


@scenario("S3 falls silent, or is slow")
async def test_connections(parts: Parts, tmp_path: Path) -> None:
    like = await parts.undisturbed(tmp_path)
    async with parts.stage(tmp_path, "s3-silent", state="S3", s3=parts.bucket_link) as at:
        await at.ready()
        with parts.bucket_link.toxic("latency", latency=100, jitter=50):
            run = await at.create(maxConcurrency=15)
            await at.some(run)
        with parts.bucket_link.toxic("timeout", timeout=0):
            await asyncio.sleep(AWAY_SECONDS)
        await at.some(run, 25)
        with parts.bucket_link.down():
            await asyncio.sleep(AWAY_SECONDS)
        await at.proved(run, like)


@scenario("credentials expire in mid-run")
async def test_credentials_expire(parts: Parts, tmp_path: Path) -> None:
    """The operator's, which work again after a while; and those of the run, which are renewed after its end."""
    like = await parts.undisturbed(tmp_path)
    async with parts.stage(tmp_path, "expired", state="S3", s3=parts.bucket) as at:
        await at.ready()
        run = await at.create(maxConcurrency=15)
        await at.some(run)
        expired = Rule(s3_error(403, "ExpiredToken"), "", "/out/")
        own = Rule(s3_error(403, "ExpiredToken"), "PUT", "/journal/", times=3)
        parts.bucket.add(expired, own)
        status = await run.ended(ENDS_SECONDS)
        assert condition(status)["reason"] == "ResultWriterFailed", condition(status)
        parts.bucket.clear()
        await at.space.secret(secret_of(at.s3))
        await redriven(run)
        await at.proved(run, like, round_="/Redrive-1")
        assert expired.met
        assert own.met


@scenario("the results' bucket is removed, and comes back")
async def test_bucket_is_removed(parts: Parts, tmp_path: Path) -> None:
    like = await parts.undisturbed(tmp_path)
    async with parts.stage(tmp_path, "no-bucket") as at:
        await at.ready()
        bucket = at.buckets.make()
        run = await at.create(maxConcurrency=15, bucket=bucket)
        await at.some(run)
        at.buckets.s3.delete_bucket(Bucket=bucket)
        status = await run.ended(ENDS_SECONDS)
        assert condition(status)["reason"] == "ResultWriterFailed", condition(status)
        at.buckets.s3.create_bucket(Bucket=bucket)
        await redriven(run)
        await at.proved(run, like, round_="/Redrive-1")


@scenario("the disk of the directory store is full")
async def test_disk_is_full(parts: Parts, tmp_path: Path) -> None:
    like = await parts.undisturbed(tmp_path)
    disk = tmp_path / "disk"
    with mounted(disk):
        async with parts.stage(tmp_path, "full", state=f"file://{disk}/state") as at:
            await at.ready()
            run = await at.create(maxConcurrency=15)
            await at.some(run)
            ballast = disk / "ballast"
            fill(ballast)
            await run.until(
                lambda status: "No space left" in str(condition(status)) or "full" in str(condition(status))
            )
            ballast.unlink()
            await at.proved(run, like)
            at.operator.kill()  # it has files open there


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """A file system of its own, and small."""
    try:
        machine.require_root()
    except Unavailable as error:
        pytest.skip(f"needs a disk of its own: {error}")
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "maprun-faults", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(ballast: Path) -> None:
    """Take all the room there is."""
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return
