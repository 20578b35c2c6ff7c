"""Class-incremental learning: the learner, its data, and methods."""
