"""Reports of an evaluation: JSON, Markdown, and one HTML file that needs nothing beside itself. Knows no metric."""
