"""What stays of an optimization: `report.json`, `trace.json`, `report.png`."""
