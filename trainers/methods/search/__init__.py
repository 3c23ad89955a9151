"""Methods that search among a policy's answers and train nothing."""
