"""Where and how networks run: device, precision, memory, and the settings of the process."""
