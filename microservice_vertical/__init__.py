"""Models one after another: proxy, and three predictors of one code. Imports `common` only."""
