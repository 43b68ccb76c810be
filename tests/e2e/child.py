"""A child that does what its item says; it shows the child contract from the inside.

Rule 1: the standard library alone. It runs in a container, from a ConfigMap.

The item: `print` goes to standard output (`times` in a row), `write` to $MAPRUN_OUTPUT, `memory` takes so many MiB,
`exit` is the exit code. With `mirror` it tells what it found: its input file, and what its variables say.
"""

import hashlib
import json
import os
import sys


def mirror(raw: bytes) -> str:
    """What the container sees of its input."""
    small = os.environ.get("MAPRUN_INPUT_JSON")
    return json.dumps(
        {
            "sha256": hashlib.sha256(raw).hexdigest(),
            "same": None if small is None else small.encode() == raw,
            "variables": [os.environ[f"MAPRUN_{name}"] for name in ("NAME", "CHILD_INDEX", "ATTEMPT", "ITEM_COUNT")],
        }
    )


with open(os.environ["MAPRUN_INPUT"], "rb") as file:
    text = file.read()
item = json.loads(text)
print(item.get("print", "") * item.get("times", 1), flush=True)
if "memory" in item:
    taken = bytearray(b"x") * (item["memory"] << 20)
output = mirror(text) if "mirror" in item else item.get("write", "")
with open(os.environ["MAPRUN_OUTPUT"], "w", encoding="utf-8") as message:
    message.write(output)
sys.exit(item.get("exit", 0))
