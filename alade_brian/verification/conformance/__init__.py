"""Whether a NIR graph spikes here as in the frameworks that import it: the same graph, the same input, every spike."""
