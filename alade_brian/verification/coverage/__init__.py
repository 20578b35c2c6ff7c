"""Which neurons of other packages are exact: every class in a small network, converted, simulated and compared."""
