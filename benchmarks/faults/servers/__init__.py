"""The brokers' servers: private ones, which a scenario may stop, or the user's, which it may not."""
