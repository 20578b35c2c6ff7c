"""Studies: many runs compared, many networks perturbed."""
