"""Workers that share the images: processes, threads, clusters."""
