"""Table of contents: a real S3 server."""

from tests.support.s3 import swift_server

__all__ = ["swift_server"]
