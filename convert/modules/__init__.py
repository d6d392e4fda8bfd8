"""Plain torch and snnTorch modules as programs: traced, built layer by layer, and held against the module itself."""
