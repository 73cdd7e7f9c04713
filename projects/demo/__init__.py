"""The whole path on a few thousand real images: what ``make demo`` runs."""
