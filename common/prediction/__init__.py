"""`POST /predict` and what it reads: pictures, payloads of jobs. Imports `service`, `inference`, `domain`."""
