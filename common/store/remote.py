"""A predictor in another service that loads a stored image itself: `POST /retrieve`, as its callers use it."""

from uuid import UUID

from pydantic_core import to_json
from yarl import URL

from common.backends.classifier import Classification
from common.backends.classifier_rest import RestClassifier
from common.backends.errors import BackendError
from common.service.deadline import Caller
from common.store.image_store import image_not_found

JSON = {"content-type": "application/json"}


async def classify_stored(
    classifier: RestClassifier, url: URL, image_id: UUID, caller: Caller, rows: int | None = None
) -> Classification:
    """The outputs for a stored image; `rows` is how many are expected (None: any number). Raises `BackendError`.

    Raises `Problem` 404 if the image is not stored. A 404 that names the image is about the caller's request; any other
    404 is a failure of the service.
    """
    try:
        return await classifier.send(url, to_json({"image_id": image_id}), JSON, caller, rows)
    except BackendError as error:
        if error.status == 404 and str(image_id) in error.cause:
            raise image_not_found(image_id) from None
        raise
