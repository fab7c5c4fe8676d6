"""The asynchronous pattern for tests: its jobs, a model of its queue, predictors that crash, a receiver of webhooks."""
