"""Tables, charts and JSON files of an evaluation."""
