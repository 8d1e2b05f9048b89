"""What was lifted in forms that other tools take: a module for each form, writing in one place."""
