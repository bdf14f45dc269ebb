"""federation room: cohorts of clients, local training, the channel, the model zoo, evaluation and the round loop."""
