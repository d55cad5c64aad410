"""The commands as a person types them: names, options and help. What they do is elsewhere.

Imported for every `cox --help`, so nothing heavy at the top of these modules.
"""
