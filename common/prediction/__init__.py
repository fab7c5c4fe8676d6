"""`POST /predict`, and what it shares with jobs and data sets: where the domain meets the model.

Imports `service`, `inference`, `domain`; of `domain` only the names that it documents.
"""
