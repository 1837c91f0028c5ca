"""Everything that travels to and from Temporal: frozen pydantic models, changed only by addition."""
