"""The tab Solvers."""
