"""For those who keep the gateway running."""
