"""What the values of a column are like, in bounded memory."""
