"""Amazon SES (API v2) over real HTTP, as far as GetAccount: signatures are checked, and refused as AWS refuses them.

Wire format: docs.aws.amazon.com/ses/latest/APIReference-V2/API_GetAccount.html; an error is named in a header and says
why in a JSON body. Signature Version 4 is computed by botocore from what arrived and the secret that belongs to the key.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.fakes.loopback import Answer, LoopbackServer, Received

KEY, SECRET, REGION = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "eu-west-1"
TOLERANCE = timedelta(minutes=5)


class SesServer(LoopbackServer):
    """account: changes to what GetAccount tells. allowed: whether the key may ask. ahead: of AWS's clock before ours."""

    def __init__(self) -> None:
        super().__init__()
        self.account: dict[str, Any] = {}
        self.allowed = True
        self.ahead = timedelta()

    def handle(self, request: Received) -> Answer:
        now = datetime.now(UTC) + self.ahead
        date = {"Date": format_datetime(now, usegmt=True)}
        refusal = self._refusal(request, now)
        if refusal:
            code, message = refusal
            headers = {"x-amzn-ErrorType": f"{code}:http://internal.amazon.com/coral/", **date}
            return Answer(status=403, body={"message": message}, headers=headers)
        if (request.method, request.path) != ("GET", "/v2/email/account"):
            return Answer(status=404, body={"message": "there is only GetAccount"}, headers=date)
        told = {
            "DedicatedIpAutoWarmupEnabled": True, "EnforcementStatus": "HEALTHY", "ProductionAccessEnabled": True,
            "SendQuota": {"Max24HourSend": 50000.0, "MaxSendRate": 14.0, "SentLast24Hours": 12.0}, "SendingEnabled": True,
            "SuppressionAttributes": {"SuppressedReasons": ["BOUNCE", "COMPLAINT"]},
        } | self.account  # fmt: skip
        return Answer(body=told, headers=date)

    def _refusal(self, request: Received, now: datetime) -> tuple[str, str] | None:
        found = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=(\w+)/\d{8}/([\w-]+)/ses/aws4_request, "
            r"SignedHeaders=([\w;-]+), Signature=([0-9a-f]{64})",
            request.headers.get("authorization", ""),
        )
        if found is None:
            return "MissingAuthenticationTokenException", "Missing Authentication Token"
        key, region, signed, signature = found.groups()
        if key != KEY:
            return "UnrecognizedClientException", "The security token included in the request is invalid."
        at = datetime.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs(now - at) > TOLERANCE:
            return (
                "InvalidSignatureException",
                "Signature not yet current" if at > now else "Signature expired",
            )
        if region != REGION or signature != self._signature(request, signed.split(";"), region):
            return (
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided.",
            )
        if not self.allowed:
            return "AccessDeniedException", "User is not authorized to perform: ses:GetAccount"
        return None

    def _signature(self, request: Received, signed: list[str], region: str) -> str:
        again = AWSRequest(
            method=request.method,
            url=f"{self.url}{request.path}",
            headers={name: request.headers[name] for name in signed},
            data=request.body,
        )
        again.context["timestamp"] = request.headers["x-amz-date"]
        auth = SigV4Auth(Credentials(KEY, SECRET), "ses", region)
        return auth.signature(auth.string_to_sign(again, auth.canonical_request(again)), again)
