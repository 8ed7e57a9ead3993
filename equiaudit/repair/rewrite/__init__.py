"""A graph -> an equivariant graph: what each operation does to the grid, and its replacement."""
