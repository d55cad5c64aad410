"""In a lab host's observer's place: it has nothing to say, and ends well."""
