"""Fields, covariance operators and noise on the torus."""
