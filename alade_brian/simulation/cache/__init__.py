"""What is kept between runs: compiled networks and what extractors answered."""
