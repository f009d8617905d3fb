"""The parts of the race: what is raced, how it is drawn from each side, and what is said of it."""
