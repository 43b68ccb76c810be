"""A state machine's definition as frozen values: the subset of Amazon States Language that is run here.

Rule 1: a definition is parsed once. What is not known here is refused, with the place where it stands, never ignored.
Rule 2: an absent field and a field that is null are two things (`"ResultPath": null`), so defaults are AWS's own or
        UNSET.
Rule 3: a state without QueryLanguage has the language of the outermost machine.
Rule 4: what several fields of one state must not do together is the service's to judge, not ours.

Field names are ASL's, so that an error names them as the user wrote them.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from maprun.errors import MapRunError
from maprun.model import QueryLanguage

INLINE: Final = "INLINE"
DISTRIBUTED: Final = "DISTRIBUTED"

Template = Any
"""A payload template or JSON with expressions; UNSET where the field is absent."""


class DefinitionInvalid(MapRunError):
    """The definition is not one that can be run here; the text says where and why."""


class Fields(msgspec.Struct, frozen=True, rename="pascal", forbid_unknown_fields=True, kw_only=True):
    """Base of everything in a definition. (Subclasses repeat `frozen`: mypy does not inherit it.)"""

    comment: str | UnsetType = UNSET


class Flow(Fields, frozen=True, kw_only=True):
    """What every state has: its language, and the fields that move data through it.

    `arguments` and `output` belong to JSONata, the rest to JSONPath. A path that is null gives {} (InputPath,
    OutputPath), or drops the result (ResultPath).
    """

    query_language: QueryLanguage | None = None
    input_path: str | None = "$"
    parameters: Template = UNSET
    arguments: Template = UNSET
    result_selector: Template = UNSET
    result_path: str | None = "$"
    output_path: str | None = "$"
    output: Template = UNSET
    assign: dict[str, Any] | UnsetType = UNSET


class Step(Flow, frozen=True, kw_only=True):
    """A state that another one may follow. `next` is its name; without one the machine ends here."""

    next: str | None = None
    end: bool = False


class Pass(Step, frozen=True, kw_only=True, tag_field="Type", tag="Pass"):
    """Passes its input on, changed by its fields alone."""

    result: Any = UNSET


class Wait(Step, frozen=True, kw_only=True, tag_field="Type", tag="Wait"):
    """Lets time pass. How long is for whoever drives the machine."""

    seconds: Annotated[int, Meta(ge=0)] | str | UnsetType = UNSET
    seconds_path: str | UnsetType = UNSET
    timestamp: str | UnsetType = UNSET
    timestamp_path: str | UnsetType = UNSET


class Succeed(Flow, frozen=True, kw_only=True, tag_field="Type", tag="Succeed"):
    """Ends the machine well."""


class Fail(Fields, frozen=True, kw_only=True, tag_field="Type", tag="Fail"):
    """Ends the machine with an error."""

    query_language: QueryLanguage | None = None
    error: str | UnsetType = UNSET
    error_path: str | UnsetType = UNSET
    cause: str | UnsetType = UNSET
    cause_path: str | UnsetType = UNSET


class Task(Step, frozen=True, kw_only=True, tag_field="Type", tag="Task"):
    """Work that is done elsewhere: only the data that goes there and comes back is our business."""

    resource: str
    credentials: Any = UNSET
    timeout_seconds: Any = UNSET
    timeout_seconds_path: str | UnsetType = UNSET
    heartbeat_seconds: Any = UNSET
    heartbeat_seconds_path: str | UnsetType = UNSET
    retry: list[Any] = []
    catch: list[Any] = []


class ProcessorConfig(Fields, frozen=True, kw_only=True):
    """Where the children of a Map run."""

    mode: str = INLINE
    execution_type: str = "STANDARD"


class Machine(Fields, frozen=True, kw_only=True):
    """States by name, and the first of them. As an item processor it tells how it is run, too."""

    start_at: str
    states: dict[str, State]
    query_language: QueryLanguage = QueryLanguage.JSONPATH
    processor_config: ProcessorConfig = ProcessorConfig()
    timeout_seconds: int | None = None
    version: str = "1.0"


class Map(Step, frozen=True, kw_only=True, tag_field="Type", tag="Map"):
    """A machine for each item. `iterator` and `parameters` are the older names of itemProcessor and itemSelector.

    Reader, batcher and writer stay as the user wrote them: `mapping` gives them to the model.
    """

    item_processor: Machine | UnsetType = UNSET
    iterator: Machine | UnsetType = UNSET
    label: str | None = None
    item_reader: dict[str, Any] | None = None
    items_path: str = "$"
    items: Any = UNSET
    item_selector: Template = UNSET
    item_batcher: dict[str, Any] | None = None
    result_writer: dict[str, Any] | None = None
    max_concurrency: int | str = 0
    max_concurrency_path: str | None = None
    tolerated_failure_percentage: float | str | None = None
    tolerated_failure_percentage_path: str | None = None
    tolerated_failure_count: int | str | None = None
    tolerated_failure_count_path: str | None = None
    retry: list[Any] = []
    catch: list[Any] = []

    @property
    def processor(self) -> Machine:
        """What runs for each item."""
        machine = self.iterator if self.item_processor is UNSET else self.item_processor
        assert machine is not UNSET, "parsed"
        return machine

    @property
    def distributed(self) -> bool:
        """True when each child is an execution of its own."""
        return self.processor.processor_config.mode == DISTRIBUTED

    @property
    def selector(self) -> Template:
        """The item's template, UNSET for none."""
        return self.parameters if self.item_selector is UNSET else self.item_selector


State = Pass | Wait | Succeed | Fail | Task | Map


def machine(definition: Any) -> Machine:
    """A machine out of plain data. `DefinitionInvalid` for what is no machine, or cannot be run here."""
    parsed: Machine = _converted(definition, Machine)
    _check(parsed, "")
    return parsed


def state(definition: Any) -> State:
    """A single state out of plain data. `DefinitionInvalid` as `machine`."""
    parsed: State = _converted(definition, State)
    _check_state(parsed, "")
    return parsed


def type_of(each: State) -> str:
    """ASL's Type of a state."""
    return type(each).__name__


def language_of(each: State, outermost: QueryLanguage) -> QueryLanguage:
    """The language of a state in a machine whose own is `outermost`."""
    return each.query_language or outermost


def _converted(definition: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(definition, kind)
    except msgspec.ValidationError as wrong:
        raise DefinitionInvalid(f"the definition cannot be run here: {wrong}") from None


def _check(parsed: Machine, at: str) -> None:
    names = {parsed.start_at, *(each.next for each in parsed.states.values() if isinstance(each, Step))} - {None}
    for name in sorted(name for name in names if name is not None and name not in parsed.states):
        raise DefinitionInvalid(f"{at or '/'}: there is no state {name!r}")
    for name, each in parsed.states.items():
        _check_state(each, f"{at}/States/{name}")


def _check_state(each: State, at: str) -> None:
    if not isinstance(each, Map):
        return
    if (each.item_processor is UNSET) == (each.iterator is UNSET):
        raise DefinitionInvalid(f"{at}: one of ItemProcessor and Iterator must be there")
    _check(each.processor, f"{at}/ItemProcessor")
