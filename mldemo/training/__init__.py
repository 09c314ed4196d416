"""Multilevel denoising score matching: plan, loop, optimiser."""
