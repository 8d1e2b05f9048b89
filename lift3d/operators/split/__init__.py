"""Any torch module as an operator: cut at named submodules, whose outputs are lifted and put back."""
