"""Brings results to other places than the client: a database and webhooks. Imports the queue's names, no trigger.

`uvicorn asynchronous.delivery:create_app --factory`
"""

from asynchronous.delivery.app import create_app

__all__ = ["create_app"]
