"""The dashboards: what is wrong with them, and what they show of daemons that really run."""
