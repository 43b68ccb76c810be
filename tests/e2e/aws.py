"""What docs/install.md uses of the `aws` command: `aws s3 mb BUCKET`, and `aws s3 cp FROM TO` (`-` is the screen)."""

import sys
from urllib.parse import urlsplit

import boto3

command, *operands = sys.argv[2:]
client = boto3.client("s3")
if command == "mb":
    client.create_bucket(Bucket=urlsplit(operands[0]).netloc)
elif operands[1] == "-":
    source = urlsplit(operands[0])
    sys.stdout.write(client.get_object(Bucket=source.netloc, Key=source.path[1:])["Body"].read().decode())
else:
    target = urlsplit(operands[1])
    client.upload_file(operands[0], target.netloc, target.path[1:])
