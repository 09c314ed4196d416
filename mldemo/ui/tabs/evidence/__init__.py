"""The tab Evidence."""
