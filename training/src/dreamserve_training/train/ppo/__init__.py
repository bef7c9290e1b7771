"""C learned in dreams by policy gradient (PPO, Schulman et al. 2017)."""
