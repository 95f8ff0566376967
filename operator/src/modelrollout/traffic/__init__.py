"""How traffic is moved: one module for each provider."""
