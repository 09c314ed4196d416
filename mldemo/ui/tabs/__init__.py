"""The tabs of the page, a folder each: Python, HTML and JavaScript together."""
