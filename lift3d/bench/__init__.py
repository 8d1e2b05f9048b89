"""What ``lift3d bench`` runs: figures that anyone can measure again."""
