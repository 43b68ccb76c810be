"""Unpacking gzip and Zstandard: rows for what is in an object, laws over every way to cut its bytes."""

from __future__ import annotations

import gzip
import itertools
import random
import struct
import zlib
from collections.abc import Iterable, Iterator

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from maprun.adapters.compression import PIECE, STEP, opened
from maprun.errors import RunFailed, StatesError

TEXT = b"id,name\n1,a\n"
NOISE = random.Random(5).randbytes(50_000)


def packed(data: bytes, extension: str) -> bytes:
    """One member."""
    return (
        gzip.compress(data, 1, mtime=0)
        if "g" in extension
        else zstandard.ZstdCompressor(write_checksum=True).compress(data)
    )


def unpacked(key: str, *chunks: bytes) -> bytes:
    return b"".join(opened(key, chunks))


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def skippable(data: bytes) -> bytes:
    return struct.pack("<II", 0x184D2A50, len(data)) + data


@pytest.mark.parametrize("extension", [".gz", ".gzip", ".zst", ".zstd", ".GZ", ".Zstd"])
def test_the_extension_tells_the_compression(extension: str) -> None:
    assert unpacked(f"a/b.csv{extension}", packed(TEXT, extension.lower())) == TEXT


@pytest.mark.parametrize("key", ["a.csv", "gz", "a.gz/b", "a.gz.csv", "a.tgz", ""])
def test_other_keys_leave_the_bytes_as_they_are(key: str) -> None:
    chunks = [packed(TEXT, ".gz"), b"", b"x"]
    assert list(opened(key, chunks)) == chunks


@pytest.mark.parametrize("extension", [".gz", ".zst"])
@pytest.mark.parametrize(
    ("members", "behind", "inside"),
    [
        pytest.param([], b"", b"", id="an empty object is an empty dataset"),
        pytest.param([b""], b"", b"", id="a member of nothing"),
        pytest.param([TEXT, b"", NOISE, TEXT], b"", TEXT + NOISE + TEXT, id="several members are one stream"),
        pytest.param([TEXT], b"\0" * 1024, TEXT, id="zero bytes behind it are padding"),
        pytest.param([TEXT] * 5000, b"", TEXT * 5000, id="thousands of tiny members"),
    ],
)
def test_what_is_inside(extension: str, members: list[bytes], behind: bytes, inside: bytes) -> None:
    data = b"".join(packed(member, extension) for member in members) + behind
    assert unpacked(f"x{extension}", data) == inside
    assert unpacked(f"x{extension}", *cut(data, 7)) == inside


def test_skippable_frames_are_skipped() -> None:
    """pzstd and seekable Zstandard put them before, between and behind the others."""
    frames = skippable(b"index") + packed(TEXT, ".zst") + skippable(NOISE) + packed(NOISE, ".zst") + skippable(b"")
    assert unpacked("x.zst", frames) == TEXT + NOISE
    assert unpacked("x.zst", *cut(frames, 3)) == TEXT + NOISE


@given(
    st.sampled_from([".gz", ".zst"]),
    st.lists(st.tuples(st.binary(max_size=300), st.integers(1, 2000)).map(lambda pair: pair[0] * pair[1]), max_size=4),
    st.lists(st.integers(0, 40_000), max_size=6),
)
def test_members_and_chunks_make_no_difference(extension: str, members: list[bytes], cuts: list[int]) -> None:
    data = b"".join(packed(member, extension) for member in members)
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    chunks = [data[a:b] for a, b in itertools.pairwise(places)]
    assert unpacked(f"x{extension}", *chunks) == b"".join(members)


@given(st.sampled_from([".gz", ".zst"]), st.binary(min_size=1, max_size=3000), st.data())
def test_a_stream_that_is_cut_off_anywhere_is_an_error(extension: str, inside: bytes, data: st.DataObject) -> None:
    whole = packed(inside, extension)
    end = data.draw(st.integers(1, len(whole) - 1))
    with pytest.raises(RunFailed, match=f"it is cut off behind byte {end} of the compressed object"):
        unpacked(f"x{extension}", *cut(whole[:end], 100))


GZ = packed(TEXT, ".gz")
ZST = packed(TEXT, ".zst")
LARGE_WINDOW = bytes.fromhex("28b52ffd00a0") + b"\1\0\0"  # a frame that asks for 1 GiB of memory, and holds nothing


@pytest.mark.parametrize(
    ("key", "data", "cause"),
    [
        pytest.param("x.gz", TEXT, "as gzip: it is broken between byte 0 and byte 12", id="no gzip"),
        pytest.param("x.zst", TEXT, "as Zstandard: it is broken between byte 0 and byte 12", id="no Zstandard"),
        pytest.param("x.gz", ZST, "incorrect header check", id="the other one"),
        pytest.param("x.gz", b"\0" * 9, "broken between byte 0 and byte 9", id="padding with nothing before it"),
        pytest.param("x.gz", GZ + b"x", "cut off behind byte 33 .*, behind 1 whole members", id="a byte behind gzip"),
        pytest.param("x.gz", GZ * 2 + TEXT, "broken .*, behind 2 whole members", id="garbage behind gzip"),
        pytest.param("x.zst", ZST + b"garbage", "broken .*, behind 1 whole members", id="garbage behind Zstandard"),
        pytest.param("x.gz", GZ[:-8] + b"\0" * 8, "incorrect data check", id="gzip's checksum"),
        pytest.param("x.zst", ZST[:-1] + b"x", "checksum", id="Zstandard's checksum"),
        pytest.param("x.zst", LARGE_WINDOW, "too much memory", id="a window of 1 GiB"),
        pytest.param(
            "x.gz",
            GZ * 2000 + TEXT,
            "between byte 49152 and byte 64012 of the compressed object, behind 2000 whole members: Error -3",
            id="far into the object, to 16 KiB",
        ),
    ],
)
def test_broken_bytes_are_told_with_their_place(key: str, data: bytes, cause: str) -> None:
    with pytest.raises(RunFailed, match=cause) as caught:
        unpacked(key, data)
    assert caught.value.failure.error == StatesError.ITEM_READER_FAILED
    assert caught.value.failure.cause.startswith("The dataset cannot be unpacked as ")


@pytest.mark.parametrize("extension", [".gz", ".zst"])
def test_what_is_before_the_broken_byte_comes_out_first(extension: str) -> None:
    pieces = opened(f"x{extension}", [packed(NOISE, extension), b"garbage" * 9])
    first = next(pieces)
    assert NOISE.startswith(first)
    with pytest.raises(RunFailed):
        list(pieces)


def zeros(extension: str) -> bytes:
    """64 MiB of zeros in a few bytes."""
    return packed(bytes(64 << 20), extension)


@pytest.mark.parametrize("extension", [".gz", ".zst"])
def test_a_few_bytes_that_unpack_to_many_come_in_pieces(extension: str) -> None:
    bomb = zeros(extension)
    assert len(bomb) < 400_000
    sizes = [len(piece) for piece in opened(f"x{extension}", [bomb, bomb])]
    assert sum(sizes) == 128 << 20
    assert max(sizes) <= PIECE


def test_nothing_is_read_before_it_is_needed() -> None:
    asked: list[int] = []

    def chunks() -> Iterator[bytes]:
        for number, chunk in enumerate(cut(gzip.compress(NOISE * 4, 0), STEP)):
            asked.append(number)
            yield chunk

    pieces = opened("x.gz", chunks())
    assert asked == []
    next(pieces)
    assert asked == [0]


def test_a_store_that_cannot_be_reached_is_not_a_broken_file() -> None:
    def chunks() -> Iterable[bytes]:
        yield packed(TEXT, ".gz")[:5]
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        list(opened("x.gz", chunks()))


def test_zlib_streams_without_the_header_of_gzip_are_refused() -> None:
    with pytest.raises(RunFailed, match="incorrect header check"):
        unpacked("x.gz", zlib.compress(TEXT))
