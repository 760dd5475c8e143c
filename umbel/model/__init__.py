"""What a task queue is made of: states, errors, the request, signals, and the ports between floors."""
