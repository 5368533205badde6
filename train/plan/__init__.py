"""What a training run needs before it is started: memory, communication, time and money."""
