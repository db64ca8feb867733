"""What `bench/gpu.py` is made of: the device, the rows with their goals, who takes part, and the tables."""
