"""Networks of the learned lifter: modules only, no I/O, no catalog."""
