"""The one training loop: step, optimizer, schedule, checkpoints, logs, devices, parallel processes."""
