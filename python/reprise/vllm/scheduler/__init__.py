"""The half of the connector in the scheduler: what is promised, loaded and saved."""
