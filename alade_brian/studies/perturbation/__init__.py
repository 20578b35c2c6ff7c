"""Effect of perturbations on learnt tasks: curves, ages, trends."""
