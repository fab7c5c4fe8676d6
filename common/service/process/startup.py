"""What a service says when it cannot start: where a resource ends the process with one line, only that line."""

from starlette.types import Message, Send

LAST_LINE = "\nSystemExit: "


def without_traceback(send: Send) -> Send:
    """`send` for a lifespan: Starlette puts a traceback into the message of a failed start, which uvicorn logs."""

    async def shorten(message: Message) -> None:
        _, is_exit, reason = message.get("message", "").rpartition(LAST_LINE)
        await send({**message, "message": reason.strip()} if is_exit else message)

    return shorten
