"""The road to an engine for a GPU, where it differs: launches for stages, binaries for objects."""
