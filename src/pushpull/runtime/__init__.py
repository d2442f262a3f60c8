"""How work is kept and spread: version, files, stages, workers, memory."""
