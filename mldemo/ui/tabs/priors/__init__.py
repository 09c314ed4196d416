"""The tab Priors."""
