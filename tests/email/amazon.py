"""An Amazon SES account: moto's, with the sender of the tests verified."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from botocore.config import Config
from moto import mock_aws


@contextmanager
def amazon() -> Iterator[Any]:
    """A client of SES v2 whose calls moto answers."""
    with pytest.MonkeyPatch.context() as environment, mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            environment.setenv(name, "testing")
        limits = Config(retries={"mode": "standard", "total_max_attempts": 1})
        client = boto3.client("sesv2", region_name="eu-west-1", config=limits)
        client.create_email_identity(EmailIdentity="ventas@example.com")
        yield client
