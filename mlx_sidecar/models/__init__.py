"""Where models lie, and what a check of their headers says of them. Importing this imports no MLX."""
