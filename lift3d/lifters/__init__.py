"""Rules for blending weights, and the one function that blends."""
