"""`NetworkSpec` to NEST."""
