"""A process that starts cheaply: postponed imports, no garbage collection while loading, memory that is handed back."""
