"""Where products lie: paths, one door to the object store, the commit protocol, Zarr products behind it."""
