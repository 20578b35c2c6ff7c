"""Plain Brian2: one pass for each operation of a time step."""
