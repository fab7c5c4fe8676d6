"""Signatures of deliveries, as Standard Webhooks has them: https://www.standardwebhooks.com (v1, symmetric)."""

import base64
import binascii
import hashlib
import hmac

from pydantic import SecretStr

PREFIX = "whsec_"
SECRET_BYTES = range(24, 65)


def checked_secret(secret: SecretStr | None) -> SecretStr | None:
    """The secret as it is; raises ValueError if it is none."""
    if secret:
        _key(secret)
    return secret


def signed(secret: SecretStr, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers that prove a body; `timestamp` in seconds since the epoch."""
    content = f"{message_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.digest(_key(secret), content, hashlib.sha256)).decode()
    return {"webhook-id": message_id, "webhook-timestamp": str(timestamp), "webhook-signature": f"v1,{signature}"}


def _key(secret: SecretStr) -> bytes:
    text = secret.get_secret_value()
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not text.startswith(PREFIX) or len(key) not in SECRET_BYTES:
        raise ValueError(f"expected {PREFIX} and 24 to 64 random bytes in base64")
    return key
