"""datasets room: loads data, splits it into clients and a public pool, fingerprints it; imports no other room."""
