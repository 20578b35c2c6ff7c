"""What flows back from a network: responses, records, and the files that hold them."""
