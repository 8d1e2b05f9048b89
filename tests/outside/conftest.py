from tests.support.s3 import moto_bucket, moto_server, moto_shared_bucket

__all__ = ["moto_bucket", "moto_server", "moto_shared_bucket"]
