"""`NetworkSpec` to Brian2: equations, networks, scripts."""
