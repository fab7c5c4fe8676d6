"""What the manager does by itself: trigger schedules, start and follow jobs. Imports registry, launchers and output."""
