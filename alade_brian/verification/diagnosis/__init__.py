"""Why two networks part: known faults, tried on the first layer that differs."""
