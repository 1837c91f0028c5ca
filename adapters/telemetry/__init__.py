"""What operators see of a process: its log lines and its metrics."""
