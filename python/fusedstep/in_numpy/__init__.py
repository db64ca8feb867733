"""What the kernels compute, in NumPy, operation by operation: `fusedstep.reference` has its classes."""
