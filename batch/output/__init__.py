"""The files of a run in its output folder. Imports `dataset`."""
