"""What a container of MapRun's image finds around it, and that S3 works there; run by the image's own Python.

Rule 1: nothing of the outside is asked: a server in this process answers for S3 and for AWS's token service (STS), the
        protocols of which are botocore's own affair.
Rule 2: it fails with the sentence that does not hold.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow
import pyarrow.parquet

from maprun.adapters import parquet_writing, s3
from maprun.adapters.s3_access import S3Access

ANSWER = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>FROMTHEROLE</AccessKeyId>
<SecretAccessKey>secret</SecretAccessKey><SessionToken>session</SessionToken>
<Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""


class Server(BaseHTTPRequestHandler):
    """GET is S3's GetObject, and answers who asked; POST is STS's AssumeRoleWithWebIdentity."""

    def do_GET(self) -> None:
        self._answer(self.headers["Authorization"].encode())

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        known = "Action=AssumeRoleWithWebIdentity" in asked and "WebIdentityToken=the-token" in asked
        self._answer(ANSWER.encode() if known else b"")

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def served() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def who_asks(access: S3Access) -> str:
    """The signature that S3 gets from a client of this access."""
    return s3.S3Store(s3.client(access), "bucket").read("key").decode()


def check_confinement() -> None:
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    assert status["Uid"].split() == ["65532"] * 4, f"the user is {status['Uid']}"
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0, "it has capabilities"
    assert status["NoNewPrivs"].strip() == "1", "it can gain privileges"
    with suppress(OSError):
        Path(s3.__file__).write_bytes(b"")
        raise AssertionError("the root file system can be written to")
    assert not os.access("/bin/sh", os.X_OK), "there is a shell"


def check_s3() -> None:
    with served() as url:
        os.environ["AWS_ENDPOINT_URL_STS"] = url
        asked = who_asks(S3Access(url, "eu-central-1", "STATICKEY", "secret"))
        assert "Credential=STATICKEY/" in asked, asked
        token = Path("/tmp/token")
        token.write_text("the-token")
        os.environ |= {
            "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/maprun",
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
        }
        asked = who_asks(S3Access(url, "eu-central-1"))
        assert "Credential=FROMTHEROLE/" in asked, asked


def check_parquet() -> None:
    outputs = [b'{"a":1}', b'{"a":2.5}']
    made = b"".join(chunk for file in parquet_writing.files(iter(outputs), 1 << 20) for chunk in file)
    table = pyarrow.parquet.read_table(pyarrow.BufferReader(made))
    assert table.column("a").to_pylist() == [1.0, 2.5], table


check_confinement()
check_s3()
check_parquet()
print("all is well")
