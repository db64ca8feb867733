"""What measurements and experiments are told with: times, the machine that they belong to, tables."""
