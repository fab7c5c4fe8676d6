"""A business flow that waits for a prediction: proxy and predictor. Imports `common` only."""
