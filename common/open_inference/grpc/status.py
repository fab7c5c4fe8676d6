"""gRPC's statuses and their HTTP equivalents, in both directions."""

from typing import Any

import grpc

from common.service.problems import CLIENT_CLOSED_REQUEST, Problem

STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    CLIENT_CLOSED_REQUEST: grpc.StatusCode.CANCELLED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,  # clients and load balancers may retry elsewhere
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""By the HTTP status of a problem; any other is INTERNAL."""
HTTP_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
"""By the status with which another interceptor ended a call; any other is 500."""


def grpc_status(problem: Problem) -> grpc.StatusCode:
    """The status of a call that ends with this problem."""
    return STATUS.get(problem.status_code, grpc.StatusCode.INTERNAL)


def http_status(context: "grpc.aio.ServicerContext[Any, Any]") -> int:
    """The HTTP status of a call that an interceptor has ended."""
    code: Any = context.code()  # the number; the stubs say the member
    return next((status for member, status in HTTP_STATUS.items() if code in (member, member.value[0])), 500)
