"""The numbers of a run: accuracies, forgetting, energy, and the verdict."""
