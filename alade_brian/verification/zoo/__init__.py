"""The networks of other frameworks' tutorials and model zoos: which are converted, and spike as in their framework."""
