"""Learning rules that replace backpropagation through time, or join it. Each is a method, see `Method`."""
