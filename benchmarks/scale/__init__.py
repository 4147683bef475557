"""What a long queue costs: claims, commits, submissions, lists of jobs, passes of the janitor, memory."""
