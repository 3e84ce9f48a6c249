"""How an engine runs on an NVIDIA GPU: the driver, memory, launches, graphs. No framework is needed."""
