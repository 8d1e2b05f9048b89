"""Runs: the record of each scene, the one driver, plans, tables, lists of scenes, failures."""
