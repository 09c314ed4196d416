"""The tab Resolution."""
