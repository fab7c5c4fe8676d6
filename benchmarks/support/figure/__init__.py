"""How the figure of the patterns side by side is drawn: its rows, its shapes, its colours."""
