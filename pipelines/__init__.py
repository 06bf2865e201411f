"""The stages, one file or folder each: sources -> tracks -> annotations -> latents -> windows -> model -> figures."""
