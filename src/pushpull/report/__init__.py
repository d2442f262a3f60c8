"""Reports of experiments: drawings, one HTML page, small tables."""
