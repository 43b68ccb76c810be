"""Planning: from a dataset to the same plan, whatever happens on the way; and the process that does it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maprun import planning
from maprun.adapters import plan_writer, sources
from maprun.adapters.directory import DirectoryStore
from maprun.adapters.plans import PlanReader, Round
from maprun.adapters.s3_access import S3Access
from maprun.adapters.stores import BucketsRef
from maprun.core import selection
from maprun.core.scheduling import PlanView
from maprun.errors import Fenced, StoreError, StoreUnavailable
from maprun.model import MapRunSpec, RunRef
from maprun.planning import PlannerDied, PlannerProcess, PlanRequest, plan_run
from tests.unit.fake_store import FakeStore

RUN = RunRef("default", "airports", "0f9c1e6a-8c3b-4c51-9a55-1a2b3c4d5e6f", 1_790_000_000.0)
GET = {"resource": "s3:getObject", "parameters": {"bucket": "data", "key": "rows.json"}}
LIST = {"resource": "s3:listObjectsV2", "parameters": {"bucket": "data"}}
JSON = {"inputType": "JSON"}


class World:
    """A directory with the bucket `data` and the run's store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = DirectoryStore(root / "data")
        self.store = DirectoryStore(root / "state")
        self.views: list[PlanView] = []

    def put(self, key: str, value: Any) -> None:
        self.data.write(key, [value if isinstance(value, bytes) else json.dumps(value).encode()], "")

    def request(self, redrive: int = 0, plan: int = 0, **spec: Any) -> PlanRequest:
        job = {"spec": {"template": {"spec": {"containers": [{"name": "work", "image": "busybox"}]}}}}
        parsed = msgspec.convert({"itemProcessor": {"jobTemplate": job}, **spec}, MapRunSpec)
        context = selection.context_for(RUN, parsed, RUN.created)
        state, buckets = f"file://{self.root}/state", BucketsRef(root=str(self.root))
        return PlanRequest(state, parsed, context, buckets=buckets, redrive=redrive, plan=plan)

    def plan(self, **spec: Any) -> PlanView:
        return plan_run(self.request(**spec), self.views.append)

    def inputs(self) -> list[Any]:
        return [json.loads(bytes(batch.input)) for batch in PlanReader(self.store).batches()]


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "data").mkdir()
    return World(tmp_path)


def reader(resource: dict[str, Any] = GET, **config: Any) -> dict[str, Any]:
    return {**resource, "readerConfig": {**(JSON if resource is GET else {}), **config}}


def test_each_element_of_a_file_becomes_a_batch(world: World) -> None:
    world.put("rows.json", [{"n": 1}, 12345678901234567890123, 1.5, "ö", None])
    view = world.plan(itemReader=reader())
    assert world.inputs() == [{"n": 1}, 12345678901234567890123, 1.5, "ö", None]
    assert (view.children, view.items) == (5, 5)
    assert view.seal
    assert world.views == [view]


def test_inputs_are_compact_json(world: World) -> None:
    world.put("rows.json", b'[ { "a" : 1.0, "b": "\\u00f6" } ]')
    world.plan(itemReader=reader())
    assert [bytes(batch.input) for batch in PlanReader(world.store).batches()] == ['{"a":1.0,"b":"ö"}'.encode()]


@pytest.mark.parametrize(
    ("spec", "inputs"),
    [
        pytest.param({"input": [1, 2]}, [1, 2], id="the input itself"),
        pytest.param({"input": {"rows": [1]}, "itemsPath": "$.rows"}, [1], id="an array in the input"),
        pytest.param(
            {"input": {"a": 1, "b": 2}}, [{"Key": "a", "Value": 1}, {"Key": "b", "Value": 2}], id="an object's members"
        ),
        pytest.param({"input": []}, [], id="nothing"),
        pytest.param({"itemReader": reader(itemsPointer="/x/y")}, [7, 8], id="a pointer into the file"),
        pytest.param(
            {"itemReader": reader(maxItems=1)}, [{"Key": "x", "Value": {"y": [7, 8]}}], id="the first items of a file"
        ),
        pytest.param(
            {"itemReader": reader(itemsPointer="/x/y"), "itemsPath": "$.none"}, [7, 8], id="itemsPath is ignored"
        ),
        pytest.param(
            {
                "input": {"rows": ["a"], "all": 3},
                "itemsPath": "$.rows",
                "itemSelector": {"i.$": "$$.Map.Item.Index", "v.$": "$$.Map.Item.Value", "of.$": "$.all", "c": 1},
            },
            [{"i": 0, "v": "a", "of": 3, "c": 1}],
            id="a selector over input and item",
        ),
        pytest.param(
            {"itemReader": reader(), "itemSelector": {"k.$": "$$.Map.Item.Key", "s.$": "$$.Map.Item.Source"}},
            [{"k": "x", "s": "s3://data/rows.json"}, {"k": "z", "s": "s3://data/rows.json"}],
            id="key and source of an object's members",
        ),
        pytest.param(
            {"input": [0], "itemSelector": {"s.$": "$$.Map.Item.Source"}}, [{"s": "STATE_DATA"}], id="source of input"
        ),
    ],
)
def test_items_come_from(world: World, spec: dict[str, Any], inputs: list[Any]) -> None:
    world.put("rows.json", {"x": {"y": [7, 8]}, "z": 9})
    world.plan(**spec)
    assert world.inputs() == inputs


def test_a_listing_gives_an_item_for_each_object(world: World) -> None:
    for key in ("b/2", "a", "b/1"):
        world.put(key, [key])
    os.utime(world.root / "data" / "b" / "1", (1_790_204_286, 1_790_204_286))
    world.plan(itemReader={**LIST, "parameters": {"bucket": "data", "prefix": "b/"}, "readerConfig": {"maxItems": 1}})
    (item,) = world.inputs()
    assert list(item) == ["Etag", "Key", "LastModified", "Size", "StorageClass"]
    assert (item["Key"], item["LastModified"], item["Size"]) == ("b/1", 1_790_204_286.0, 7)
    assert isinstance(item["LastModified"], float)
    assert item["Etag"].startswith('"')


def test_a_plain_listing_is_from_the_bucket(world: World) -> None:
    world.put("key", [])
    world.plan(itemReader=LIST, itemSelector={"s.$": "$$.Map.Item.Source"})
    assert world.inputs() == [{"s": "s3://data"}]


@pytest.mark.parametrize(
    ("spec", "error", "cause"),
    [
        pytest.param(
            {"itemReader": reader({**GET, "parameters": {"bucket": "none", "key": "k"}}, **JSON)},
            *("States.ItemReaderFailed", "spec.itemReader.parameters: bucket none does not exist"),
            id="a missing bucket",
        ),
        pytest.param(
            {"itemReader": {**LIST, "parameters": {"bucket": "none"}}},
            *("States.ItemReaderFailed", "spec.itemReader.parameters: bucket none does not exist"),
            id="a missing bucket to list",
        ),
        pytest.param(
            {"itemReader": reader({**GET, "parameters": {"bucket": "data", "key": "none"}}, **JSON)},
            *("States.ItemReaderFailed", "spec.itemReader.parameters: bucket data: key 'none' does not exist"),
            id="a missing key",
        ),
        pytest.param(
            {"itemReader": reader({**GET, "parameters": {"bucket": "data", "key": "number.json"}}, **JSON)},
            *("States.ItemReaderFailed", "Attempting to map over non-iterable node."),
            id="JSON that is neither array nor object",
        ),
        pytest.param(
            {"itemReader": reader({**GET, "parameters": {"bucket": "data", "key": "broken.json"}}, **JSON)},
            *("States.ItemReaderFailed", "at byte 4"),
            id="broken JSON",
        ),
        pytest.param(
            {"itemReader": reader({**GET, "parameters": {"bucket": "data", "key": "half.json"}}, **JSON)},
            *("States.ItemReaderFailed", "Item 0 cannot be written as JSON"),
            id="half of a surrogate pair",
        ),
        pytest.param(
            {"itemReader": reader({**GET, "parameters": {"bucket": "data", "key": "deep.json"}}, **JSON)},
            *("States.ItemReaderFailed", "nested too deeply"),
            id="an item that a reader with a deeper stack could not read again",
        ),
        pytest.param(
            {"input": {"a": 1}, "itemsPath": "$.a"},
            *("States.Runtime", 'Reference path "$.a" must point to array.'),
            id="itemsPath to a number",
        ),
        pytest.param(
            {"input": [1], "itemSelector": {"x.$": "$.none"}},
            *("States.Runtime", "The JSONPath '$.none'"),
            id="a selector that points at nothing",
        ),
        pytest.param(
            {"input": ["x", "x" * 262_143]},
            *("States.DataLimitExceeded", "for item 1 has 262145 bytes; at most 262144"),
            id="an input above 256 KiB",
        ),
    ],
)
def test_planning_fails_for_good_on(world: World, spec: dict[str, Any], error: str, cause: str) -> None:
    world.put("number.json", 3)
    world.put("deep.json", b"[" * 500 + b"]" * 500)
    world.put("broken.json", b"[1,2")
    world.put("half.json", b'["\\ud800"]')
    view = world.plan(**spec)
    assert view.failure
    assert (view.failure.error, cause in view.failure.cause) == (error, True), view.failure
    assert PlanReader(world.store).view() == view
    assert world.plan(input=[1]).failure == view.failure, "a restart ends the same way"


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_writer, "SEGMENT_BYTES", 40)


class Killed(Exception):
    """The process ended right here."""


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("source", [GET, LIST], ids=["file", "listing"])
@pytest.mark.parametrize("batcher", [{}, {"itemBatcher": {"maxItemsPerBatch": 3}}], ids=["one by one", "in batches"])
@pytest.mark.parametrize("fatal", range(6))
def test_a_plan_that_was_killed_at_any_segment_goes_on_to_the_same_bytes(
    world: World, tmp_path: Path, source: dict[str, Any], fatal: int, batcher: dict[str, Any]
) -> None:
    for number in range(20):
        world.put(f"row{number:02}", number)
    world.put("rows.json", ["x" * 40] * 20)
    spec = {"itemReader": reader(source), "itemSelector": {"n.$": "$$.Map.Item.Value"}, "input": {}, **batcher}
    whole = world.plan(**spec)
    wanted = {path.name: path.read_bytes() for path in (world.root / "state" / "plan").iterdir()}
    (world.root / "state").rename(world.root / "first")

    def die(view: PlanView) -> None:
        if len(world.views) == fatal:
            raise Killed
        world.views.append(view)

    world.views.clear()
    with pytest.raises(Killed):
        plan_run(world.request(**spec), die)
    assert world.plan(**spec) == whole
    assert {path.name: path.read_bytes() for path in (world.root / "state" / "plan").iterdir()} == wanted


BATCHED: list[tuple[str, dict[str, Any], list[int]]] = [
    ("by count", {"maxItemsPerBatch": 8}, [8, 8, 4]),
    ("by bytes", {"maxInputBytesPerBatch": 40}, [7, 6, 5, 2]),
    ("by both, whichever comes first", {"maxItemsPerBatch": 5, "maxInputBytesPerBatch": 35}, [5, 5, 4, 4, 2]),
]


@pytest.mark.parametrize(("batcher", "sizes"), [row[1:] for row in BATCHED], ids=[row[0] for row in BATCHED])
def test_items_are_put_together(world: World, batcher: dict[str, Any], sizes: list[int]) -> None:
    items = [number * 111 for number in range(20)]
    world.put("rows.json", items)
    view = world.plan(itemReader=reader(), itemBatcher=batcher)
    assert [len(each["Items"]) for each in world.inputs()] == [
        batch.items for batch in PlanReader(world.store).batches()
    ]
    assert [item for each in world.inputs() for item in each["Items"]] == items
    assert [len(each["Items"]) for each in world.inputs()] == sizes
    assert (view.items, view.children) == (20, len(sizes))


def test_an_error_comes_behind_the_batches_before_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broken row is the 13th; with batches of 5 and segments of 2 batches, 10 items are durable."""
    monkeypatch.setattr(plan_writer, "FIRST_BATCHES", ())
    monkeypatch.setattr(plan_writer, "SEGMENT_BYTES", 60)
    rows = "".join(f"{number}\n" for number in range(12))
    world.put("rows.json", (rows + '{"a": tru}\n').encode())
    read = {**reader(), "readerConfig": {"inputType": "JSONL"}}
    view = world.plan(itemReader=read, itemBatcher={"maxItemsPerBatch": 5, "batchInput": {"all": "the same"}})
    assert view.failure
    assert view.failure.error == "States.ItemReaderFailed"
    assert "line 13" in view.failure.cause
    assert (view.children, view.items) == (2, 10)
    assert [each["Items"] for each in world.inputs()] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


@pytest.mark.usefixtures("small_segments")
def test_what_is_durable_is_not_read_again_from_a_listing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        world.put(f"row{number}", number)
    started: list[str] = []
    listing = DirectoryStore.list

    def noted(self: DirectoryStore, prefix: str = "", start_after: str = "") -> Any:
        started.append(start_after)
        return listing(self, prefix, start_after)

    def die(view: PlanView) -> None:
        if view.children == 3:
            raise Killed

    with pytest.raises(Killed):
        plan_run(world.request(itemReader=LIST), die)
    world.put("row0a", "new, but before what was planned")
    monkeypatch.setattr(DirectoryStore, "list", noted)
    world.plan(itemReader=LIST)
    assert started[-1] in ("row2", "row3"), "one segment more may have become durable when the process died"
    assert [item["Key"] for item in world.inputs()] == [f"row{number}" for number in range(6)]


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("durable", [True, False], ids=["with durable batches fails", "without any starts over"])
def test_a_dataset_that_was_replaced_in_between(world: World, durable: bool) -> None:
    world.put("rows.json", ["x" * 50] * 3)

    def die(view: PlanView) -> None:
        raise Killed

    if durable:
        with pytest.raises(Killed):
            plan_run(world.request(itemReader=reader()), die)
    world.put("rows.json", ["other"])
    view = world.plan(itemReader=reader())
    if durable:
        assert view.failure
        assert "changed" in view.failure.cause
        assert "start a new run" in view.failure.cause
        assert view.failure.error == "States.ItemReaderFailed"
    else:
        assert world.inputs() == ["other"]


@pytest.mark.usefixtures("small_segments")
def test_behind_a_store_that_was_away_the_plan_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ["x" * 50] * 4
    world.put("rows.json", rows)
    cuts: list[str] = []
    create = DirectoryStore.create

    def cut(self: DirectoryStore, key: str, data: bytes) -> None:
        create(self, key, data)
        if len(cuts) < 4:
            cuts.append(key)
            raise StoreUnavailable("the answer was lost")

    monkeypatch.setattr(DirectoryStore, "create", cut)
    for _ in range(4):
        with pytest.raises(StoreUnavailable, match="the answer was lost"):
            world.plan(itemReader=reader())
    assert world.plan(itemReader=reader()).seal
    assert world.inputs() == rows
    assert len(set(cuts)) == 4, "each time a little further"


def test_a_store_of_the_run_that_refuses_is_no_failure_of_the_run(world: World) -> None:
    (world.root / "state").write_bytes(b"not a directory")
    with pytest.raises(StoreError):
        world.plan(input=[1])


def test_an_open_dataset_is_closed_when_planning_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    data = FakeStore({"rows.json": b"[1,2,3]"}, chunk=2)
    reading = data.open("rows.json")
    monkeypatch.setattr(data, "open", lambda key, if_match="", version="": reading)

    class Buckets:
        def bucket(self, name: str, owner: str = "") -> FakeStore:
            return data

    spec = World(Path("/")).request(itemReader=reader()).spec
    source = sources.open_source(spec, Buckets(), {})
    assert next(source.blocks).values == [1, 2, 3]
    source.blocks.close()
    assert reading.closed


async def views_of(request: PlanRequest) -> list[PlanView]:
    async with asyncio.timeout(60), aclosing(PlannerProcess().run(request)) as views:
        return [view async for view in views]


async def test_a_process_tells_each_step_and_the_end(world: World) -> None:
    world.put("rows.json", list(range(150)))
    views = await views_of(world.request(itemReader=reader()))
    assert [(view.children, view.seal is not None) for view in views] == [(100, False), (150, True)]
    assert world.inputs() == list(range(150))
    assert await views_of(world.request(itemReader=reader())) == views[-1:], "a plan that has ended is told at once"


async def test_a_process_tells_a_failure(world: World) -> None:
    (view,) = await views_of(world.request(itemReader=reader()))
    assert view.failure
    assert view.failure.error == "States.ItemReaderFailed"


async def test_a_process_ends_when_a_store_cannot_be_reached(world: World, unused_tcp_port: int) -> None:
    access = S3Access(f"http://127.0.0.1:{unused_tcp_port}", "us-east-1", "AKIDEXAMPLE", "hidden-secret")
    request = msgspec.structs.replace(world.request(itemReader=reader()), buckets=BucketsRef(access=access))
    with pytest.raises(StoreUnavailable, match=r"cannot connect to http://127\.0\.0\.1") as told:
        await views_of(request)
    assert "hidden" not in str(told.value)


async def test_a_process_raises_what_ends_it(world: World) -> None:
    (world.root / "state").write_bytes(b"not a directory")
    with pytest.raises(StoreError, match="state"):
        await views_of(world.request(input=[1]))


@pytest.fixture
def process_that_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a program in the place of planning that prints these lines."""

    def replace(lines: str) -> None:
        (tmp_path / "speaker.py").write_text(f"print({lines!r}, flush=True)\nimport time\ntime.sleep(600)\n")
        monkeypatch.setattr(planning, "MODULE", "speaker")
        monkeypatch.setattr(planning, "_environment", lambda: {**os.environ, "PYTHONPATH": str(tmp_path)})

    return replace


async def test_a_line_that_was_cut_off_is_no_news(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "speaker.py").write_text('print(\'{"view":{"chil\', end="", flush=True)')
    monkeypatch.setattr(planning, "MODULE", "speaker")
    monkeypatch.setattr(planning, "_environment", lambda: {**os.environ, "PYTHONPATH": str(tmp_path)})
    with pytest.raises(PlannerDied, match="exit code 0"):
        await views_of(world.request(input=[]))


async def test_a_process_that_was_fenced_says_so(world: World, process_that_says: Callable[[str], None]) -> None:
    process_that_says('{"fenced":"another planner"}')
    with pytest.raises(Fenced, match="another planner"):
        await views_of(world.request(input=[]))


async def test_the_last_words_of_a_process_that_dies_are_for_the_log_alone(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(planning, "_environment", lambda: {**os.environ, "PYTHONPATH": ""})
    monkeypatch.setattr(planning, "MODULE", "maprun.no_such_module")
    with pytest.raises(PlannerDied, match=r"^planning ended with exit code 1; the log tells more$"):
        await views_of(world.request(input=[1]))
    assert "No module named" in caplog.text


async def test_last_words_show_no_credential(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "babbler.py").write_text("import sys; sys.exit(sys.stdin.readline())")
    monkeypatch.setattr(planning, "MODULE", "babbler")
    monkeypatch.setattr(planning, "_environment", lambda: {**os.environ, "PYTHONPATH": str(tmp_path)})
    own, theirs = S3Access("", "", "OWN-KEY", "own-secret", "own-token"), S3Access("", "", "KEY", "their-secret")
    request = msgspec.structs.replace(world.request(input=[1]), access=own, buckets=BucketsRef(access=theirs))
    with pytest.raises(PlannerDied):
        await views_of(request)
    assert '"secret_access_key":"…"' in caplog.text
    assert not re.search("OWN-KEY|own-secret|own-token|their-secret", caplog.text)


@contextmanager
def started(request: PlanRequest) -> Iterator[subprocess.Popen[bytes]]:
    """The process by itself, with its request and an open standard input."""
    with subprocess.Popen(
        [sys.executable, "-m", planning.MODULE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=planning._environment(),
    ) as process:
        try:
            assert process.stdin
            process.stdin.write(msgspec.json.encode(request) + b"\n")
            process.stdin.flush()
            yield process
        finally:
            process.kill()


def test_the_process_ends_with_its_parent(world: World) -> None:
    """Its input is closed in the middle of the work, as it is when the parent is killed."""
    os.mkfifo(world.root / "data" / "rows.json")  # opening it lasts as long as nobody writes
    with started(world.request(itemReader=reader())) as process:
        assert process.stdin
        process.stdin.close()
        assert process.wait(60) == 1


def test_the_process_ends_by_itself_and_quietly(world: World) -> None:
    with started(world.request(input=[1])) as process:
        assert process.wait(60) == 0
        assert process.stderr
        assert process.stderr.read() == b""


def test_a_request_shows_no_secret(world: World) -> None:
    access = S3Access("", "", "AKIDEXAMPLE", "hidden-secret", "hidden-token")
    request = msgspec.structs.replace(world.request(input=[1]), access=access, buckets=BucketsRef(access=access))
    assert "hidden" not in repr(request)
    assert msgspec.json.decode(msgspec.json.encode(request), type=PlanRequest) == request


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    items=st.lists(st.integers(0, 10**6) | st.text("ab", max_size=20), max_size=60),
    most=st.integers(1, 7),
    size=st.none() | st.integers(40, 90),
    crashes=st.lists(st.integers(0, 6), max_size=4),
    listing=st.booleans(),
)
def test_wherever_planning_is_killed_the_batches_are_the_same(
    small_segments: None, items: list[Any], most: int, size: int | None, crashes: list[int], listing: bool
) -> None:
    batcher = {"maxItemsPerBatch": most} | ({} if size is None else {"maxInputBytesPerBatch": size})
    selector = {"itemSelector": {"k.$": "$$.Map.Item.Value.Key"}} if listing else {}
    spec = {"itemReader": reader(LIST if listing else GET), "itemBatcher": batcher, **selector}
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        world.put("rows.json", items)
        for number in range(len(items) if listing else 0):
            world.put(f"{number}", number)
        whole = world.plan(**spec)
        wanted = {path.name: path.read_bytes() for path in (world.root / "state" / "plan").iterdir()}
        (world.root / "state").rename(world.root / "first")
        for crash in crashes:
            steps = iter(range(crash + 1))

            def die(view: PlanView, steps: Iterator[int] = steps) -> None:
                if next(steps, None) is None and not (view.seal or view.failure):
                    raise Killed

            with suppress(Killed):
                plan_run(world.request(**spec), die)
        assert world.plan(**spec) == whole
        assert {path.name: path.read_bytes() for path in (world.root / "state" / "plan").iterdir()} == wanted


# ------------------------------------------------------------------------------------------------------------ redrives


@pytest.mark.usefixtures("small_segments")
def test_a_redrive_reads_on_where_reading_failed_and_only_the_same_dataset(world: World) -> None:
    """The object vanishes in the middle of reading; put back unchanged, it is read on; another one is refused."""
    world.put("rows.json", ["x" * 50] * 6)
    file = world.root / "data" / "rows.json"

    def die(view: PlanView) -> None:
        if view.children >= 2:
            raise Killed

    with pytest.raises(Killed):
        plan_run(world.request(itemReader=reader()), die)
    durable = PlanReader(world.store).view().children
    file.rename(world.root / "aside")
    lost = world.plan(itemReader=reader())
    assert (lost.children, "does not exist" in str(lost.failure)) == (durable, True)
    assert world.plan(itemReader=reader()) == lost, "in the same round it stays so"
    world.put("rows.json", ["other"])
    other = world.plan(redrive=1, itemReader=reader())
    assert (other.children, "changed" in str(other.failure)) == (durable, True)
    (world.root / "aside").rename(file)
    whole = world.plan(redrive=2, itemReader=reader())
    assert whole.seal
    assert whole.children == 6


def test_a_redrive_of_a_run_without_a_child_reads_the_dataset_anew(world: World) -> None:
    world.put("rows.json", b"[1, 2, oops]")
    assert world.plan(itemReader=reader()).failure
    world.put("rows.json", [7, 8, 9])
    assert world.plan(redrive=1, plan=1, itemReader=reader()).seal
    anew = PlanReader(world.store, at=Round(1, 1))
    assert [json.loads(bytes(batch.input)) for batch in anew.batches()] == [7, 8, 9]


@pytest.mark.usefixtures("small_segments")
def test_a_plan_that_an_abort_cut_off_is_read_on_in_a_redrive(world: World) -> None:
    """Nothing says how reading ended: its process was stopped."""
    world.put("rows.json", ["x" * 50] * 6)

    def stop(view: PlanView) -> None:
        raise Killed

    with pytest.raises(Killed):
        plan_run(world.request(itemReader=reader()), stop)
    assert PlanReader(world.store, at=Round(1)).view().seal is None
    assert world.plan(redrive=1, itemReader=reader()).children == 6
    assert len(world.inputs()) == 6
