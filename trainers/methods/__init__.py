"""The training methods, one file each: equation, settings, and the loop in plain sight."""
