"""What both services run on: settings, HTTP serving, the internal port, logs and traces."""
