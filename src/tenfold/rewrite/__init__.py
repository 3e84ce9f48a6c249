"""How graphs are changed: rules, the driver that applies them, and passes in order."""
