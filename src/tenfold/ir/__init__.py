"""What a model is: types, sizes, tensors, operations, graphs, and how they are written down and run."""
