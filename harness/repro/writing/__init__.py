"""A script as text: the calls that lead to the finding, the check behind them, and how its parts are laid out."""
