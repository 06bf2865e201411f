"""A folder or manifest of recordings -> one `SourceRow` per participant: the input of ingest."""
