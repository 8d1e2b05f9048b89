"""Prefect and Ray: batches of scenes as tasks, scenes on workers. Everything that distributes lives here."""
