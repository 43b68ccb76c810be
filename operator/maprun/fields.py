"""What the model is made of: bounded strings and numbers, descriptions, schemas of what is kept as it is.

Rule 1: every string has a length; what has a form has a pattern that means the same to Python and to Go (RE2).
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

MAX_ITEMS: Final = 100_000_000  # §1.2
MAX_SECONDS: Final = 99_999_999  # §5.6
PAYLOAD_LIMIT: Final = 256 * 1024  # bytes of one child's input or output, and of an inline result, §8
UNRESOLVED: Final = "only a resolved spec has this: see core/resolving.py"

ANY_JSON: Final = {"x-kubernetes-preserve-unknown-fields": True}

Bucket = Annotated[str, Meta(min_length=3, max_length=63, pattern=r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$")]
Key = Annotated[str, Meta(min_length=1, max_length=1024)]
Prefix = Annotated[str, Meta(max_length=1024)]
ErrorName = Annotated[str, Meta(min_length=1, max_length=256)]
ErrorNames = Annotated[list[ErrorName], Meta(min_length=1, max_length=32)]
CHILD_INDEXES: Final = r"^[0-9]{1,9}(-[0-9]{1,9})?(,[0-9]{1,9}(-[0-9]{1,9})?)*$"
ChildIndexes = Annotated[str, Meta(min_length=1, max_length=4096, pattern=CHILD_INDEXES)]
Pointer = Annotated[str, Meta(max_length=1999, pattern=r"^(/.*)?$")]
Endpoint = Annotated[str, Meta(max_length=512, pattern=r"^https?://[^\s/?#@]+/?$")]
Region = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9-]+$")]
Label = Annotated[str, Meta(min_length=1, max_length=40)]
ReferencePath = Annotated[str, Meta(min_length=1, max_length=1024, pattern=r"^\$")]
SecretName = Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")]
DecimalString = Annotated[str, Meta(max_length=15, pattern=r"^[0-9]{1,8}(\.[0-9]{1,6})?$")]
# With queryLanguage JSONata, a number may be an expression that gives it: `{% $states.input.limit %}`.
EXPRESSION: Final = r"^\{%[\s\S]*%\}$"
DECIMAL_OR_EXPRESSION: Final = r"^([0-9]{1,8}(\.[0-9]{1,6})?|\{%[\s\S]*%\})$"
Expression = Annotated[str, Meta(max_length=8192, pattern=EXPRESSION)]
DecimalOrExpression = Annotated[str, Meta(max_length=8192, pattern=DECIMAL_OR_EXPRESSION)]
Percentage = Annotated[int, Meta(ge=0, le=100)] | DecimalOrExpression
Seconds = Annotated[int, Meta(ge=1, le=MAX_SECONDS)]
Items = Annotated[int, Meta(ge=0, le=MAX_ITEMS)]
Argument = Annotated[str, Meta(max_length=8192)]
TemplatePath = Annotated[str, Meta(min_length=1, max_length=8192, pattern=r"^(\$|States\.)")]
VersionId = Annotated[str, Meta(min_length=1, max_length=1024)]
AccountId = Annotated[str, Meta(pattern=r"^[0-9]{12}$", max_length=12)]
Header = Annotated[str, Meta(max_length=10_240)]


class Model(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """Base of every value in the spec. (Subclasses repeat `frozen`: mypy does not inherit it.)"""


def doc(*sentences: str) -> Meta:
    """What a field is, for the CRD."""
    return Meta(description=" ".join(sentences))


def _opaque(description: str, **schema: Any) -> dict[str, Any]:
    """Schema of an object whose unknown fields are kept as they are."""
    return {"type": "object", "description": description, **ANY_JSON, **schema}


_CONTAINERS: Final = {
    "type": "array",
    "description": "The containers. The first one does the work on the child's input.",
    "minItems": 1,
    "maxItems": 64,
    "items": _opaque("A Container."),
}
_POD: Final = _opaque("A PodSpec.", required=["containers"], properties={"containers": _CONTAINERS})
_POD_TEMPLATE: Final = _opaque("A PodTemplateSpec.", required=["spec"], properties={"spec": _POD})
_JOB: Final = _opaque("A JobSpec.", required=["template"], properties={"template": _POD_TEMPLATE})

JOB_TEMPLATE: Final = {**ANY_JSON, "required": ["spec"], "properties": {"spec": _JOB}}
"""Schema of a Job template: as much of it as MapRun itself reads. The rest is the API server's to judge."""
