"""How the bundled lite weights were made: one command re-makes each of them."""
