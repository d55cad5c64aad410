"""What crosses the walls between services: messages, subjects, bus, telemetry, statistics."""
