"""From incidents to what is due to be told, and its words."""
