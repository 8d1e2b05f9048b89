"""What people see: terminal, tables, contact sheets. Reads products, computes nothing that is stored."""
