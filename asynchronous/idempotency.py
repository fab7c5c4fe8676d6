"""Which requests with one `Idempotency-Key` are the same request.

https://www.ietf.org/archive/id/draft-ietf-httpapi-idempotency-key-header-07.html#section-2.4
"""

import json
from hashlib import sha256

from fastapi import Request
from pydantic_core import from_json

from common.prediction.input_decoder import JSON
from common.service.request_context import media_type


def fingerprint(request: Request, body: bytes) -> str:
    """What must be equal: media type, query parameters in any order, and body.

    JSON may have other spaces, and its members in another order.
    """
    if (content_type := media_type(request)) == JSON:
        body = json.dumps(from_json(body), sort_keys=True).encode()
    query = json.dumps(sorted(request.query_params.multi_items())).encode()
    return sha256(b"\0".join([content_type.encode(), query, body])).hexdigest()
