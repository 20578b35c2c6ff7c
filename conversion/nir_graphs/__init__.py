"""NIR graphs to `NetworkSpec` and back."""
