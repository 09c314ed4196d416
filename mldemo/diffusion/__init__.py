"""The diffusion on function space: SDE, denoisers, samplers, conditioning."""
