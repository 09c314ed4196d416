"""The tab Forward."""
