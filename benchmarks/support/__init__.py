"""What the benchmarks share: servers, load, rounds, tables. Run the modules of the folder above."""
