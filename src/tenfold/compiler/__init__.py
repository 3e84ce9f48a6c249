"""The road from graph to engine: layout, fusion, choice, schedule, memory."""
