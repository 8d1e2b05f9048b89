"""What a run's score tables say: per operator, per lifter, run against run."""
