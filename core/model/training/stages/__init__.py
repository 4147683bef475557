"""What each training stage optimises: one task per stage, with the builders of its untrained networks."""
