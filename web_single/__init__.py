"""Interface, preprocessing and model in one server. Imports `common` only."""
