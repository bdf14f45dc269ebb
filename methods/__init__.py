"""methods room: the round interface (`base`), the registry and one file per federated-learning method."""
