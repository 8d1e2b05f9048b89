"""Questions of where things are, and what is measured to answer them."""
