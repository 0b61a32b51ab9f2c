"""Training pictures made on other machines, by tf.data's service."""
