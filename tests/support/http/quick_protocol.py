"""The HTTP protocol of the services with a short time for headers, so that a test need not wait."""

from common.server.http_protocol import HttpProtocol


class QuickProtocol(HttpProtocol):
    header_seconds = 0.5
    answered_seconds = 0.5
