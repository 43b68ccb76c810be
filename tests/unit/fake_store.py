"""A store in memory that can be cut off, refuse, or die in the middle, which a real one cannot be made to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing

from maprun.errors import AlreadyExists, Changed, NotFound
from maprun.ports import ObjectInfo


class FakeReading:
    def __init__(self, data: bytes, etag: str, chunk: int) -> None:
        self.etag, self.size, self.closed = etag, len(data), False
        self._data, self._chunk = data, chunk

    def __iter__(self) -> Iterator[bytes]:
        return (self._data[i : i + self._chunk] for i in range(0, len(self._data), self._chunk))

    def close(self) -> None:
        self.closed = True


class FakeStore:
    """`objects` is what is durable. `before` and `after` run around each `create` and may raise."""

    def __init__(self, objects: dict[str, bytes] | None = None, chunk: int = 1000) -> None:
        self.objects = {} if objects is None else objects
        self.chunk = chunk
        self.before: Callable[[str], None] = lambda key: None
        self.after: Callable[[str], None] = lambda key: None
        self.opened: list[str] = []

    def read(self, key: str) -> bytes:
        if key not in self.objects:
            raise NotFound(key)
        return self.objects[key]

    def open(self, key: str, if_match: str = "", version: str = "") -> FakeReading:
        data = self.read(key)
        self.opened.append(key)
        if if_match and if_match != self.etag(key):
            raise Changed(f"{key} changed")
        return FakeReading(data, self.etag(key), self.chunk)

    def read_at(self, key: str, offset: int, length: int, if_match: str) -> bytes:
        with closing(self.open(key, if_match)) as reading:
            return b"".join(reading)[offset : offset + length]

    def create(self, key: str, data: bytes) -> None:
        self.before(key)
        if self.objects.setdefault(key, data) != data:
            raise AlreadyExists(key)
        self.after(key)

    def write(self, key: str, chunks: Iterable[bytes], content_type: str) -> int:
        self.objects[key] = b"".join(chunks)
        return len(self.objects[key])

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
        for key in sorted(self.objects, key=str.encode):
            if key.startswith(prefix) and key > start_after:
                yield ObjectInfo(key, len(self.objects[key]), self.etag(key), 1_790_204_286.0)

    def folders(self, prefix: str = "") -> Iterator[str]:
        ends = {key[: key.find("/", len(prefix)) + 1] for key in self.objects if key.startswith(prefix)}
        yield from sorted(ends - {""})

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def etag(self, key: str) -> str:
        return f'"{hash(self.objects[key]) & 0xFFFFFFFF:x}"'
