"""What the gateway is told: settings, and how TOML files become checked values."""
