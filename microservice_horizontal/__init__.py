"""Models side by side: proxy, members and post-processor. Imports `common` only."""
