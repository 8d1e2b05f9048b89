"""Pure torch functions on K, w2c and points. CONVENTIONS.md fixes frames and pixels; no types of the domain here."""
