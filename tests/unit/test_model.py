"""The model's own values: defaults and what is parsed once."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgspec
import pytest

from maprun.model import LIVE, MUTABLE, MapRunSpec
from maprun.model_processing import ExecutionType, JitterStrategy, Retrier
from maprun.model_reading import InputType, ReaderResource
from tests.spec_cases import JOB, get_object, listing


def spec(**fields: Any) -> MapRunSpec:
    return msgspec.convert({"itemProcessor": {"jobTemplate": JOB}, **fields}, MapRunSpec)


def test_a_spec_with_nothing_but_work_has_the_documented_defaults() -> None:
    least = spec()
    assert least.input == {}
    assert least.items_path == "$"
    assert least.max_concurrency == 0
    assert least.percentage is None
    assert least.tolerated_failure_count is None
    assert (least.timeout_seconds, least.suspend, least.abort) == (None, False, False)
    assert (least.redrives, least.redrive_filter, least.ttl_seconds_after_finished) == (0, None, None)
    assert least.item_processor.retry == []
    assert least.item_processor.processor_config.execution_type is ExecutionType.STANDARD


def test_a_retrier_has_the_defaults_of_aws() -> None:
    retrier = Retrier(error_equals=["States.ALL"])
    assert (retrier.interval_seconds, retrier.max_attempts, retrier.backoff) == (1, 3, 2)
    assert (retrier.max_delay_seconds, retrier.jitter_strategy) == (None, JitterStrategy.NONE)


@pytest.mark.parametrize(
    ("given", "percentage"),
    [
        pytest.param(5, Fraction(5), id="an integer"),
        pytest.param("0.1", Fraction(1, 10), id="a decimal string, exactly"),
        pytest.param("100.000000", Fraction(100), id="with trailing zeros"),
        pytest.param(None, None, id="nothing"),
    ],
)
def test_a_percentage_is_an_exact_number(given: int | str | None, percentage: Fraction | None) -> None:
    assert spec(toleratedFailurePercentage=given).percentage == percentage


@pytest.mark.parametrize(("given", "rate"), [(2, Fraction(2)), ("1.5", Fraction(3, 2))])
def test_a_backoff_rate_is_an_exact_number(given: int | str, rate: Fraction) -> None:
    assert Retrier(error_equals=["X"], backoff_rate=given).backoff == rate


def test_either_form_of_a_readers_resource_says_whether_it_lists() -> None:
    assert [resource for resource in ReaderResource if resource.lists] == [
        "s3:listObjectsV2",
        "arn:aws:states:::s3:listObjectsV2",
    ]


def test_a_reader_is_read_field_by_field() -> None:
    reader = msgspec.convert(get_object({"inputType": "JSON", "maxItems": 3})["spec"], MapRunSpec).item_reader
    assert reader is not None
    assert (reader.bucket, reader.key, reader.prefix) == ("data", "a.json", "")
    assert (reader.reader_config.input_type, reader.reader_config.limit) == (InputType.JSON, 3)


@pytest.mark.parametrize("body", [get_object(), listing(prefix="a/")], ids=["one object", "a listing"])
def test_a_spec_survives_being_written_and_read(body: dict[str, Any]) -> None:
    value = msgspec.convert(body["spec"], MapRunSpec)
    assert msgspec.json.decode(msgspec.json.encode(value), type=MapRunSpec) == value


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        setattr(spec(), "max_concurrency", 5)  # noqa: B010  a plain assignment is what mypy refuses already


def test_what_may_change_are_fields_of_the_spec() -> None:
    assert LIVE < MUTABLE <= {field.encode_name for field in msgspec.structs.fields(MapRunSpec)}
