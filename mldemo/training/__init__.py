"""What to train and how: multilevel denoising score matching."""
