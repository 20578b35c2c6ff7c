"""The proof: both networks' responses to the same images, compared spike by spike."""
