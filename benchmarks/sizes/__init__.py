"""The bytes that the messages of workflows take in the broker."""
