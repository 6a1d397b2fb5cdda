"""What is said of what was found: reasons for people, deviations for machines."""
