"""The proof that every fault ends with: nothing is lost, nothing counted twice, nothing that succeeded ran again.

Rule 1: it is made of what others can see: the result files, the status, every Job and pod that a watch from outside
        saw, and the journal. Nothing is asked of the operator.
Rule 2: two runs of one spec give the same bytes, but for what must differ: times, uid, name, namespace and bucket, and
        the sizes of files, as times are written without zeros at their end.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

from maprun.records import ChildStatus, Outcome, Record
from tests.adapters.operator_runs import Json, Results, Run, Seen, attempt_of

DATE: Final = re.compile(r'"\d{4}-\d\d-\d\dT[0-9:.]+Z"')
SIZE: Final = re.compile(r'"Size":\d+')
CATEGORIES: Final = ("SUCCEEDED", "FAILED", "PENDING")
RAN: Final = {ChildStatus.SUCCEEDED, ChildStatus.FAILED, ChildStatus.TIMED_OUT}

Files = dict[str, str]


def neutral(results: Results, run: Run, round_: str = "") -> Files:
    """The files by name, without what must differ between two runs; `round_` is left out of their names, too."""
    found = {}
    for key, data in {results.key: results.manifest, **results.files}.items():
        text = SIZE.sub('"Size":0', DATE.sub('"date"', data.decode()))
        for own, general in ((run.uid, "uid"), (run.name, "name"), (results.bucket, "bucket"), (run.space.name, "ns")):
            text = text.replace(own, general)
        found[key.rpartition(run.uid)[2].replace(round_, "")] = text.replace(round_, "")
    return found


def same_bytes(found: Files, like: Files) -> None:
    """The same files with the same bytes; a difference is shown from where it begins."""
    assert found.keys() == like.keys()
    for name, text in found.items():
        at = next((at for at, both in enumerate(zip(text, like[name], strict=False)) if len({*both}) > 1), 0)
        assert text == like[name], (
            f"{name} at {at}: {text[max(0, at - 200) : at + 200]}, not {like[name][at : at + 200]}"
        )


def each_item_is_in_one_file(results: Results, items: int) -> None:
    """Every item, once, in SUCCEEDED, FAILED or PENDING; within a file in the order of the items."""
    found = {
        category: [json.loads(each["Input"])["n"] for each in results.records(category)] for category in CATEGORIES
    }
    for numbers in found.values():
        assert numbers == sorted(numbers)
    assert sorted(number for numbers in found.values() for number in numbers) == list(range(items))


def counters_are_the_files(status: Json, results: Results) -> None:
    """What the status counts is what the files hold."""
    counted = status["itemCounts"]
    kept = {category: len(results.records(category)) for category in CATEGORIES}
    assert counted["succeeded"] == kept["SUCCEEDED"]
    assert sum(counted.get(each, 0) for each in ("failed", "timedOut", "aborted")) == kept["FAILED"]
    assert counted["pending"] == kept["PENDING"]
    assert (counted["running"], counted["total"]) == (0, sum(kept.values()))
    assert counted["resultsWritten"] == sum(kept.values())
    assert status["executionCounts"]["succeeded"] == kept["SUCCEEDED"]


def _story(pods: Seen, run: Run, child: int) -> str:
    """All that was seen of a child's pods, a line each."""
    mine = [(kind, each) for kind, each in pods.of(run) if attempt_of(each)[0] == child]
    return "".join(f"\n{kind} {each['metadata']['name']} {each['status'].get('phase')}" for kind, each in mine)


def nothing_that_succeeded_ran_again(pods: Seen, run: Run) -> None:
    """Behind a child's pod that has succeeded no other pod of that child ever begins. Events come in the order in
    which things happened. Two pods that run at once are Kubernetes' own: its Job controller may make a second one when
    the answer to the first was lost.
    """
    known: set[str] = set()
    succeeded: set[int] = set()
    for _, pod in pods.of(run):
        child, uid = attempt_of(pod)[0], pod["metadata"]["uid"]
        assert uid in known or child not in succeeded, f"child {child} ran again:{_story(pods, run, child)}"
        known.add(uid)
        if pod["status"].get("phase") == "Succeeded":
            succeeded.add(child)


def each_attempt_is_counted_once(jobs: Seen, run: Run, journal: Iterable[Record], *, renewed: bool) -> None:
    """Each attempt that ran has one Job and one durable outcome. `renewed`: a Job that somebody else deleted is
    made again under its name.
    """
    outcomes = [record for record in journal if isinstance(record, Outcome)]
    keys = Counter((each.child, each.attempt) for each in outcomes)
    assert set(keys.values()) == {1}
    made = Counter(jobs.created(run).values())
    assert made.keys() <= keys.keys()
    assert {(each.child, each.attempt) for each in outcomes if each.status in RAN} <= made.keys()
    assert renewed or set(made.values()) == {1}, [key for key, count in made.items() if count > 1]
