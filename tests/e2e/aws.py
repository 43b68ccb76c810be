"""What docs/install.md uses of the `aws` command: `aws s3 mb BUCKET`, `aws s3 cp FROM TO` (`-` is the screen), and
`aws s3api put-bucket-lifecycle-configuration`, whose rule is checked here and then refused by servers that have none.
"""

import json
import sys
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import ClientError

command, *operands = sys.argv[2:]
client = boto3.client("s3")
if command == "mb":
    client.create_bucket(Bucket=urlsplit(operands[0]).netloc)
elif command == "put-bucket-lifecycle-configuration":
    options = dict(zip(operands[::2], operands[1::2], strict=True))
    rules = json.loads(options["--lifecycle-configuration"])
    try:
        client.put_bucket_lifecycle_configuration(Bucket=options["--bucket"], LifecycleConfiguration=rules)
    except ClientError as error:
        if error.response["Error"]["Code"] != "NotImplemented":
            raise
elif operands[1] == "-":
    source = urlsplit(operands[0])
    sys.stdout.write(client.get_object(Bucket=source.netloc, Key=source.path[1:])["Body"].read().decode())
else:
    target = urlsplit(operands[1])
    client.upload_file(operands[0], target.netloc, target.path[1:])
