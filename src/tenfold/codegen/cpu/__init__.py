"""CPU kernels as LLVM IR; `strategies` lists them, best first."""
