"""The error for what is no picture of a digit."""


class InvalidInput(ValueError):
    """Its text says what is wrong; `status` is the HTTP status, `item` the number of the item in a list."""

    def __init__(self, detail: str, status: int = 422, item: int = 0) -> None:
        super().__init__(detail)
        self.status = status
        self.item = item
