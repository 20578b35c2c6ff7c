"""Responses of a network, spike records, and the files that hold them."""
