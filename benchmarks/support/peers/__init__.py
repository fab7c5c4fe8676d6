"""The model servers that `peer_bench.py` measures: who they are, and how they are started."""
