"""Real ranks: this process's place among them, the collectives by name, and a log of what is given to a collective."""
