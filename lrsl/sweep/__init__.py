"""Many runs: what becomes of each job, and the summary of all."""
