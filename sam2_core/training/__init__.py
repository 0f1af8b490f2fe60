"""Training from scratch with simulated interaction (Ravi et al. 2024, section 5 and appendix D)."""
