"""The training loops: Lightning modules and the trainer they share."""
