"""The asynchronous pattern: proxy, queue, predictors and delivery. Imports common/, and no other pattern."""
