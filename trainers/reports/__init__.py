"""What a run says of itself at its end: figures with their intervals, beside chance and controls."""
