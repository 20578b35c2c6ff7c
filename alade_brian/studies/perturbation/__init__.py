"""What perturbations leave of what was learnt: curves, ages, trends."""
